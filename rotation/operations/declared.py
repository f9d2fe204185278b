"""Every guarded operation of this package: importing this module declares them, when the application starts."""

from rotation.operations import clauses, exceptions, held, keks, keys, log, rules, sources

__all__ = ["clauses", "exceptions", "held", "keks", "keys", "log", "rules", "sources"]
