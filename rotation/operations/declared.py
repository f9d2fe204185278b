"""Every guarded operation of this package: importing this module declares them, when the application starts."""

from rotation.operations import log, rules  # noqa: F401
