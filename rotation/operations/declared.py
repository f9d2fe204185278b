"""Every guarded operation of this package: importing this module declares them, when the application starts."""

from rotation.operations import clauses, deks, exceptions, held, kek_links, keks, keys, log, new_keks, rules, sources

__all__ = ["clauses", "deks", "exceptions", "held", "kek_links", "keks", "keys", "log", "new_keks", "rules", "sources"]
