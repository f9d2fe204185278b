"""What is wrong with a key at an instant: by its record, the day, and what is around it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from inventory.algorithms import AlgorithmRow, Facts, Judgement, Status, is_weaker, judge, security_strength
from inventory.findings.catalogue import Finding
from inventory.findings.demands import Demands, Peers, of_clauses
from inventory.findings.record import of_record
from inventory.states import State
from inventory.terms import Environment, KeyKind

if TYPE_CHECKING:
    from inventory.models import Key

LONGEST_SUSPENSION = timedelta(hours=72)
ACCESS_KNOWN_WITHIN = timedelta(days=30)
_IN_USE = (State.ACTIVE, State.SUSPENDED)
_OUT_OF_USE = (State.DEACTIVATED, State.COMPROMISED)
_GONE = (State.DESTROYED, State.DESTROYED_COMPROMISED)
# A random string has no algorithm that somebody must write down.
_STRINGS = frozenset({
    KeyKind.API_TOKEN, KeyKind.PERSONAL_TOKEN, KeyKind.WEBHOOK_SECRET, KeyKind.BOOTSTRAP_SECRET,
    KeyKind.DATABASE_CREDENTIAL,
})  # fmt: skip
_BY_STATUS = {
    Status.PROHIBITED: "algorithm-prohibited",
    Status.NOT_YET: "algorithm-not-yet",
    Status.LEGACY: "algorithm-legacy",
    Status.EXCEPTION: "algorithm-exception",
    Status.UNKNOWN: "algorithm-unknown",
}


class Table:
    """The table of algorithms; remembers what it has judged, because many keys are alike."""

    def __init__(self, rows: Sequence[AlgorithmRow]) -> None:
        self._rows = rows
        self._judged: dict[tuple[Facts, date], Judgement] = {}

    def judge(self, facts: Facts, day: date) -> Judgement:
        if (facts, day) not in self._judged:
            self._judged[facts, day] = judge(facts, self._rows, day)
        return self._judged[facts, day]


class Under(NamedTuple):
    """Keys under one key, not destroyed, that are alike."""

    kind: str
    algorithm: str
    size_bits: int | None
    keys: int


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the record of a key does not say. The defaults are those of a key that is not registered yet."""

    now: datetime
    table: Table
    demands: Demands
    under: Sequence[Under] = ()
    peers: Sequence[Peers] = ()
    suspended_at: datetime | None = None
    is_owner_gone: bool = False
    weaknesses: Sequence[str] = ()  # of the public key of the current version: codes that are findings too
    expires_on: date | None = None  # the last day of its certificate
    excepted: Mapping[int, datetime] = field(default_factory=dict)  # clause's id → until when the key is excepted


def findings(key: "Key", around: Surroundings) -> list[Finding]:
    """Return everything that is wrong with a key, each code once. Nothing is wrong with a destroyed one. No queries."""
    if key.state in _GONE:
        return []
    return [
        *of_record(key),
        *_algorithm(key, around),
        *_strength(key, around),
        *_access(key, around.now.date()),
        *_owner(key, around),
        *_time(key, around),
        *of_material(key.state, around.weaknesses, around.expires_on, around.now.date()),
        *of_clauses(key, around.demands, around.peers, around.excepted),
    ]


def _algorithm(key: "Key", around: Surroundings) -> Iterator[Finding]:
    if not key.algorithm.strip() and key.kind in _STRINGS:
        return
    facts = Facts(algorithm=key.algorithm, size_bits=key.size_bits, kind=key.kind)
    judged = around.table.judge(facts, around.now.date())
    source = judged.row.source if judged.row else ""
    if code := _BY_STATUS.get(judged.status):
        yield Finding(code=code, facts={"judgement": judged.sentence, "source": source})
    made_on = key.last_rotated_on or key.created_on
    if made_on is None or judged.status == Status.PROHIBITED:
        return
    then = around.table.judge(facts, made_on)
    if then.status_new == Status.PROHIBITED and then.row:
        said = {"made_on": _day(made_on), "algorithm": then.row.label, "source": then.row.source}
        yield Finding(code="algorithm-not-for-new-keys", facts=said)


def _strength(key: "Key", around: Surroundings) -> Iterator[Finding]:
    if key.kind != KeyKind.KEK:
        return
    bits = security_strength(key.algorithm, key.size_bits)
    stronger = [
        (strength, under.keys)
        for under in around.under
        if under.kind == KeyKind.DEK
        for strength in [security_strength(under.algorithm, under.size_bits)]
        if strength is not None and is_weaker(bits, strength)
    ]
    if stronger and bits is not None:
        deks, strongest = sum(keys for _bits, keys in stronger), max(strength for strength, _keys in stronger)
        yield Finding(code="kek-weaker-than-deks", facts={"kek_bits": bits, "deks": deks, "dek_bits": strongest})


def _access(key: "Key", today: date) -> Iterator[Finding]:
    """Look outside production only: a key of production opens production, whatever its record says."""
    if key.access or key.environment in {"", Environment.PRODUCTION}:
        return
    if key.created_on is None or today - key.created_on > ACCESS_KNOWN_WITHIN:
        yield Finding(code="access-unknown", facts={"days": ACCESS_KNOWN_WITHIN.days})


def _owner(key: "Key", around: Surroundings) -> Iterator[Finding]:
    if key.owner is not None and (around.is_owner_gone or not key.owner.is_active):
        yield Finding(code="owner-gone", facts={"owner": key.owner.handle})


def _time(key: "Key", around: Surroundings) -> Iterator[Finding]:
    since = around.suspended_at
    if key.state == State.SUSPENDED and since and around.now - since > LONGEST_SUSPENSION:
        hours = int(LONGEST_SUSPENSION.total_seconds()) // 3600
        yield Finding(code="suspended-too-long", facts={"since": _day(since.astimezone(UTC)), "hours": hours})
    protect_until, process_until = key.protect_until, key.process_until
    if key.state in _IN_USE and protect_until and protect_until <= around.now:
        yield Finding(code="past-period-of-use", facts={"ended": _day(protect_until.astimezone(UTC))})
    children = sum(under.keys for under in around.under)
    if key.state == State.DEACTIVATED and children and (process_until is None or process_until <= around.now):
        yield Finding(code="deactivated-but-referenced", facts={"children": children})


def of_material(state: str, weaknesses: Sequence[str], expires_on: date | None, today: date) -> Iterator[Finding]:
    """Return what is wrong with the public key or the certificate itself."""
    for code in weaknesses:
        yield Finding(code=code)
    if expires_on and expires_on < today and state not in _OUT_OF_USE:
        yield Finding(code="certificate-expired", facts={"ended": _day(expires_on)})


def _day(day: date) -> str:
    return f"{day:%-d %B %Y}"
