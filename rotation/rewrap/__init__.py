"""Re-wrap jobs: every DEK under an old version of a KEK comes under its newest, in batches that survive anything."""

from rotation.rewrap.planning import Pace, Plan, open_job, plan
from rotation.rewrap.steering import change_speed, pause, resume, retry_quarantined, stop

__all__ = ["Pace", "Plan", "change_speed", "open_job", "pause", "plan", "resume", "retry_quarantined", "stop"]
