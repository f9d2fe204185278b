"""Checks of how long the audit log is kept."""

from audit.periods import keeping
from audit.periods.demands import STRICTEST, TooShortError, retention
from keyvault_admin.checks.rules import Answer, Group, Rule


def log_is_kept_long_enough() -> Answer:
    days = keeping.kept_days()
    try:
        retention(days)
    except TooShortError as error:
        return Answer(str(error), f"Set KEYVAULT_AUDIT_RETENTION_DAYS to {STRICTEST.days} or more.")
    voted = keeping.voted_by()
    by = f"as {voted.replace(':', ' ')} decided" if voted else "as the setting says"
    return Answer(f"Events are kept for {days:,} days, {by}; {STRICTEST} demands {STRICTEST.days}.")


RULES = (Rule("face.E029", Group.HOUSE, "the log is kept as long as policies demand", log_is_kept_long_enough),)
