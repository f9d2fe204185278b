"""What may be done with a KEK version now, and in plain words why the rest cannot be done yet."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from django.urls import reverse

from inventory.custody import BackendError, Capabilities, capabilities_of
from inventory.models import Kek
from inventory.terms import StoreStatus
from rotation.custody_pages.wording import needs
from rotation.custody_selectors.keks import KekFacts, VersionFacts
from rotation.models import BUSY_ORDERS, Request
from rotation.operations import operations

CREATE, LINK = "kek.create", "kek.link"
ROTATE, DISABLE, SCHEDULE, PURGE, RECOVER = "kek.rotate", "kek.disable", "kek.schedule", "kek.purge", "kek.recover"
PAGES = {
    ROTATE: "ask_kek_rotate",
    DISABLE: "ask_kek_disable",
    SCHEDULE: "ask_kek_schedule",
    PURGE: "ask_kek_purge",
    RECOVER: "ask_kek_recover",
}
_VERBS = {DISABLE: "disable", SCHEDULE: "schedule its destruction", PURGE: "destroy at once", RECOVER: "recover"}
_ENDING = (DISABLE, SCHEDULE, PURGE)


@dataclass(frozen=True)
class Act:
    """Something that one may ask for; without an address it cannot be done yet."""

    code: str
    words: str
    url: str = ""
    why_not: Sequence[str] = ()


@dataclass(frozen=True)
class Ways:
    """What stands open for a KEK to somebody."""

    rotate: Act | None  # None: it is not theirs to ask
    by_version: dict[int, list[Act]]  # by the id of the version
    capabilities: Capabilities | None
    trouble: str  # why nobody knows what the store can do

    @property
    def any_version(self) -> bool:
        return any(self.by_version.values())


def ways(facts: KekFacts, *, roles: Collection[str], waiting: Iterable[Request]) -> Ways:
    """Find out what somebody of these roles may ask of a KEK now. Opens no store, and no query."""
    capabilities, trouble = _capabilities(facts.kek)
    asked = {request.operation: request for request in waiting}
    theirs = askable(roles) & {*PAGES}
    busy = _busy(facts)
    rotate = None
    if ROTATE in theirs:
        rotate = _act(
            facts.kek, ROTATE, "rotate it", [*busy, *_no_rotation(facts, capabilities), *_asked(asked, ROTATE)]
        )
    by_version = {
        one.row.pk: [
            _act(facts.kek, code, _VERBS[code], why, version=one.number)
            for code in (DISABLE, SCHEDULE, PURGE, RECOVER)
            if code in theirs and _is_for(code, one, capabilities)
            for why in [[*busy, *(needs(one) if code in _ENDING else ()), *_asked(asked, code)]]
        ]
        for one in facts.versions
    }
    return Ways(rotate, by_version, capabilities, trouble)


def askable(roles: Collection[str]) -> set[str]:
    """Return the codes of the operations that a role of these may ask for."""
    return {operation.code for operation in operations() if set(operation.askers) & set(roles)}


def _capabilities(kek: Kek) -> tuple[Capabilities | None, str]:
    try:
        return capabilities_of(kek.uri), ""
    except BackendError as error:
        return None, str(error)


def _act(kek: Kek, code: str, words: str, why_not: Sequence[str], *, version: int | None = None) -> Act:
    if why_not:
        return Act(code, words, why_not=tuple(why_not))
    query = {"number": version} if version else {}
    return Act(code, words, reverse(f"admin:rotation_request_{PAGES[code]}", args=[kek.pk], query=query))


def _busy(facts: KekFacts) -> list[str]:
    """Say that an order for this KEK is open: there is one at a time."""
    order = next((one for one in facts.orders if one.state in BUSY_ORDERS), None)
    return [f"Order {order.pk} comes first: {order.get_act_display()}."] if order else []


def _no_rotation(facts: KekFacts, capabilities: Capabilities | None) -> list[str]:
    if capabilities is not None and not capabilities.rotates:
        return [
            "This kind of store is not rotated from here: rotate it there; the next look takes the new version over."
        ]
    return [] if facts.versions else ["No version of it is known yet."]


def _asked(asked: dict[str, Request], code: str) -> list[str]:
    return [f"Request {asked[code].pk} waits for the same."] if code in asked else []


def _is_for(code: str, version: VersionFacts, capabilities: Capabilities | None) -> bool:
    """Whether an act makes sense for a version as the store has it, and the store can do it at all."""
    if capabilities is None:
        return False
    status = version.row.status
    can_come_back = capabilities.enables if status == StoreStatus.DISABLED else capabilities.recovers
    return {
        DISABLE: status == StoreStatus.ENABLED and capabilities.disables is not None,
        SCHEDULE: status in {StoreStatus.ENABLED, StoreStatus.DISABLED} and capabilities.schedules is not None,
        PURGE: status != StoreStatus.GONE and capabilities.purges is not None,
        RECOVER: status in {StoreStatus.DISABLED, StoreStatus.SCHEDULED} and can_come_back,
    }[code]
