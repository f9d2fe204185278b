"""What the audit log refuses. Doors treat every one of these as "nothing was done"."""


class AuditError(Exception):
    """An event could not be recorded, or may not be: the change that it belongs to must not stand."""


class SealError(AuditError):
    """Sealed bytes could not be opened: unknown version, another key, another context, or altered.

    The four are deliberately not told apart to the caller.
    """


class PeriodError(AuditError):
    """A period of the log may not be closed or dropped, or its file is not what it should be; nothing was changed."""
