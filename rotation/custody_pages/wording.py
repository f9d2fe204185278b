"""How KEK versions, orders and jobs read: chips, figures, and why something cannot be done yet."""

from collections.abc import Sequence
from datetime import datetime

from django.template.defaultfilters import pluralize

from inventory.chips import Chip
from inventory.custody import Capabilities, Death, Scope
from inventory.models import Kek
from inventory.terms import StoreStatus
from rotation.custody_selectors.jobs import JobFacts
from rotation.custody_selectors.keks import COUNTED_DEKS, VersionFacts
from rotation.models import BatchState, JobState, Order, OrderState, RewrapBatch, RewrapJob

_STATUS: dict[str, Chip] = {
    StoreStatus.ENABLED: Chip("ok", "enabled"),
    StoreStatus.DISABLED: Chip("hold", "disabled"),
    StoreStatus.SCHEDULED: Chip("soon", "scheduled for destruction"),
    StoreStatus.GONE: Chip("rest", "gone"),
}
_ORDERS: dict[str, Chip] = {
    OrderState.WAITING: Chip("run", "waits for the worker"),
    OrderState.DOING: Chip("run", "being done"),
    OrderState.WATCHING: Chip("soon", "watched until it is over"),
    OrderState.DONE: Chip("ok", "done"),
    OrderState.FAILED: Chip("late", "failed"),
    OrderState.CANCELLED: Chip("rest", "cancelled"),
}
_JOBS: dict[str, Chip] = {
    JobState.RUNNING: Chip("run", "running"),
    JobState.PAUSED: Chip("hold", "paused"),
    JobState.DONE: Chip("ok", "done"),
    JobState.SUPERSEDED: Chip("rest", "superseded"),
    JobState.STOPPED: Chip("late", "stopped"),
}
# Of Quarantined.reason, what it means and what helps.
REASONS: dict[str, tuple[str, str]] = {
    "altered": ("The wrapped DEK was altered", "Restore it from a backup or from the application that uses it."),
    "not_bound": ("It opens, and is another DEK than this row's", "Find out who exchanged it; restore this row's own."),
    "other_version": ("It is wrapped under another version than it says", "Compare the row with the audit log."),
    "gone": ("The store no longer has the version that wraps it", "Recover the version in the store, then retry."),
    "not_usable": ("The store does not let the version be used", "Enable it in the store, then retry."),
    "denied": ("The store denied it", "Look at what the store's credential may do, then retry."),
    "refused": ("The store refused it without saying why", "Look into the store's own log, then retry."),
}
_UNKNOWN_REASON = "The worker's log says more, under the number of this job."
_REACH = {
    Scope.VERSION: "each version by itself",
    Scope.UP_TO: "a version with all before it",
    Scope.KEY: "all versions at once",
}
_DEATHS = {
    Death.REFUSES: "the store refuses to open under it",
    Death.RAISED: "the store's smallest version is raised",
    Death.CANNOT_BE_SHOWN: "cannot be shown with this store",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_HUNDRED = 100
_TENTH_BELOW = 10


def figure(deks: int) -> str:
    """Return a count of DEKs as deks_under() gives it."""
    return f"{deks:,}" if deks <= COUNTED_DEKS else f"more than {COUNTED_DEKS:,}"


def deks_words(deks: int) -> str:
    return f"{figure(deks)} DEK{pluralize(deks)}"


def store_of(kek: Kek) -> tuple[str, str, str]:
    """Take a URI apart for people: the kind of store, its name, and the KEK's name there."""
    scheme, _, rest = kek.uri.partition(":")
    name, _, key = rest.partition("/")
    return scheme, name, key


def version_chips(version: VersionFacts) -> list[Chip]:
    """Say what a version is: the primary, open or closed to wraps, and what the store says of it."""
    chips = [Chip("run", "primary")] if version.is_primary else []
    status = version.row.status
    if status == StoreStatus.SCHEDULED and version.row.scheduled_for:
        chips.append(Chip("soon", f"destroyed on {version.row.scheduled_for:%-d %b %Y}"))
    elif status != StoreStatus.ENABLED or not version.is_primary:
        chips.append(_STATUS[status])
    if not version.is_open and not version.is_gone:
        chips.append(Chip("rest", "closed to wraps"))
    return chips


def order_chip(order: Order) -> Chip:
    return _ORDERS[order.state]


def job_chip(job: RewrapJob) -> Chip:
    return _JOBS[job.state]


def reason_words(reason: str) -> tuple[str, str]:
    """Return what a reason of quarantine means, and what helps."""
    return REASONS.get(reason, (reason.replace("_", " ").capitalize(), _UNKNOWN_REASON))


def reach_words(capabilities: Capabilities | None) -> str:
    """Say what disabling reaches in a store, or nothing where it cannot disable."""
    if capabilities is None or capabilities.disables is None:
        return ""
    return _REACH[capabilities.disables]


def death_words(capabilities: Capabilities | None) -> str:
    """Say how it is seen that an old version opens nothing any more."""
    return _DEATHS[capabilities.death] if capabilities else ""


# Why not


def needs(version: VersionFacts) -> list[str]:
    """Say what still needs a version, a sentence each: as long as there is one it is neither disabled nor destroyed."""
    number = version.number
    said = []
    if version.is_primary:
        said.append(f"Version {number} takes the new wraps. Rotate first: then another one does.")
    elif version.deks:
        verb = "is" if version.deks == 1 else "are"
        said.append(f"{deks_words(version.deks)} {verb} still under version {number}.")
    said += [f"{hold.get_kind_display().capitalize()} needs it: {hold.because}" for hold in version.holds]
    if version.hand_outs:
        verb = "is" if version.hand_outs == 1 else "are"
        said.append(
            f"{version.hand_outs:,} DEK{pluralize(version.hand_outs)} handed out under it {verb} not confirmed."
        )
    return said + [_source_words(one.source.name, one.deks) for one in version.elsewhere]


def _source_words(name: str, deks: int | None) -> str:
    if deks is None:
        return f"{name}, a source elsewhere, was never counted."
    return f"{name}, a source elsewhere, had {deks:,} DEK{pluralize(deks)} under it when it was last counted."


# Jobs


def percent(job: RewrapJob) -> int:
    """Return how far a job is, in whole percent; 100 only when all is done."""
    if not job.total:
        return _HUNDRED if job.state == JobState.DONE else 0
    return min(job.rewrapped * _HUNDRED // job.total, _HUNDRED)


def rate_words(a_second: float | None) -> str:
    if a_second is None:
        return "no batch ended in the last half minute"
    return f"{a_second:,.1f} a second" if a_second < _TENTH_BELOW else f"{a_second:,.0f} a second"


def duration_words(seconds: float) -> str:
    """Return a duration as people say it: "about 2 s", "about 5 min", "about 3 h"."""
    if seconds < _MINUTE:
        return f"{max(round(seconds), 1)} s"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    return f"{round(seconds / _HOUR)} h" if seconds < 2 * _DAY else f"{round(seconds / _DAY)} days"


def progress_words(job: RewrapJob) -> str:
    return f"{job.rewrapped:,} of {job.total:,} DEKs"


def summary(facts: JobFacts) -> str:
    """Return where a job stands in one line."""
    job = facts.job
    said = [progress_words(job)]
    if job.state == JobState.RUNNING:
        said.append(rate_words(facts.pace.a_second))
        if facts.seconds_left is not None and facts.left:
            said.append(f"about {duration_words(facts.seconds_left)} left")
    return " · ".join([*said, f"{facts.quarantined:,} quarantined"])


def moves(job: RewrapJob, old: Sequence[VersionFacts]) -> str:
    """Say from where to where: "v3 → v4"."""
    numbers = [one.number for one in old if one.deks]
    target = f"v{job.target.version.number}"
    return f"v{numbers[0]}{'…' if len(numbers) > 1 else ''} → {target}" if numbers else f"to {target}"


def took(job: RewrapJob) -> str:
    """Say how long a finished job took and how fast it was over all, or nothing."""
    if job.closed_at is None:
        return ""
    seconds = max((job.closed_at - job.opened_at).total_seconds(), 0.001)
    return f"{duration_words(seconds)}, {rate_words(job.rewrapped / seconds)}"


def batch_words(batch: RewrapBatch, now: datetime) -> tuple[Chip, str]:
    """Say how a batch stands, and how long it took or has been held."""
    if batch.state == BatchState.DONE and batch.done_at:
        return Chip("ok", "done"), f"{(batch.done_at - batch.begun_at).total_seconds():.1f} s"
    if batch.leased_until and batch.leased_until < now:
        return Chip("soon", "lease ran out"), "another worker takes it over"
    return Chip("run", "being done"), f"since {batch.begun_at:%H:%M:%S} UTC"
