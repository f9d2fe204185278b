"""Re-wrap jobs: every DEK under an old version of a KEK comes under its newest, in batches that survive anything."""

from rotation.rewrap.planning import Pace, Plan, open_job, plan
from rotation.rewrap.steering import change_speed, pause, resume, retry_quarantined, stop
from rotation.rewrap.working import Ended, Work, busy_on, supersede, tend, work

__all__ = [
    "Ended",
    "Pace",
    "Plan",
    "Work",
    "busy_on",
    "change_speed",
    "open_job",
    "pause",
    "plan",
    "resume",
    "retry_quarantined",
    "stop",
    "supersede",
    "tend",
    "work",
]
