"""What a re-wrap job refuses. Every sentence may be shown."""

from rotation.errors import RotationError


class RewrapError(RotationError):
    """A rule of re-wrapping said no."""


class NoPrimaryError(RewrapError):
    def __init__(self, kek: str) -> None:
        super().__init__(f"{kek} has no version that takes new wraps yet, so there is nothing to bring its DEKs to.")


class NothingToRewrapError(RewrapError):
    def __init__(self, kek: str) -> None:
        super().__init__(f"Nothing is wrapped under an old version of {kek}. There is nothing to do.")


class JobRunningError(RewrapError):
    def __init__(self, kek: str, job: str) -> None:
        self.job = job
        super().__init__(f"{kek} is being re-wrapped already ({job}). Look at that job, or resume it where it waits.")


class ClosedJobError(RewrapError):
    def __init__(self, job: str, state: str) -> None:
        super().__init__(f"{job} is {state}: nothing of it changes any more. Open a new job for what is left.")


class NotPausedError(RewrapError):
    def __init__(self, job: str, state: str) -> None:
        super().__init__(f"{job} is {state}, so there is nothing to resume.")


class NotRunningError(RewrapError):
    def __init__(self, job: str, state: str) -> None:
        super().__init__(f"{job} is {state}, so there is nothing to pause.")


class SpeedError(RewrapError):
    def __init__(self, batch: int, rate: int) -> None:
        super().__init__(f"A batch has 1 to {batch:,} DEKs, and a limit is 1 to {rate:,} DEKs a second.")


class NothingQuarantinedError(RewrapError):
    def __init__(self, job: str) -> None:
        super().__init__(f"{job} has nothing in quarantine.")


class NoSourcesError(RewrapError):
    def __init__(self) -> None:
        super().__init__("Nothing here re-wraps the DEKs of a source elsewhere.")


class LeaseLostError(RewrapError):
    """Somebody else has the batch now: nothing of what was done with it stands."""


class ChangedMeanwhileError(RewrapError):
    """Wrappings of the batch are not what was read: all of it is read once more."""
