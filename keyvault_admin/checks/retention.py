"""Checks of how long the audit log is kept."""

from django.conf import settings

from audit.periods import keeping
from audit.periods.demands import STRICTEST, TooShortError, retention
from keyvault_admin.checks.rules import Answer, Group, Rule


def log_is_kept_long_enough() -> Answer:
    """The setting, which holds until people have voted for another figure."""
    days = settings.AUDIT_RETENTION_DAYS
    try:
        retention(days)
    except TooShortError as error:
        return Answer(str(error), f"Set KEYVAULT_AUDIT_RETENTION_DAYS to {STRICTEST.days} or more.")
    return Answer(f"The setting keeps events for {days:,} days; {STRICTEST} demands {STRICTEST.days}.")


def log_is_kept_as_decided() -> Answer:
    """What holds now: the figure that people have voted for, where they have."""
    days, voted = keeping.kept_days(), keeping.voted_by()
    try:
        retention(days)
    except TooShortError as error:
        return Answer(str(error), "Ask for a longer time on the page Who decides what.")
    by = f"as {voted.replace(':', ' ')} decided" if voted else "as the setting says"
    return Answer(f"Events are kept for {days:,} days, {by}.")


RULES = (Rule("face.E029", Group.HOUSE, "the log is kept as long as policies demand", log_is_kept_long_enough),)
LIVE = (Rule("face.E034", Group.HOUSE, "the log is kept as long as was decided", log_is_kept_as_decided),)
