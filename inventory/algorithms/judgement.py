"""What an algorithm is worth on a day: the strictest of the rows that bind it, and when that changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from inventory.algorithms.names import claims, rows_of
from inventory.algorithms.strength import security_strength
from inventory.algorithms.table import DAY, IN_TABLE, AlgorithmRow, SourceStatus, Status, Statuses
from inventory.recognise.text import shown

OPAQUE = "opaque"  # a random string that is no key of any algorithm
_SEVERITY = {status: number for number, status in enumerate(IN_TABLE)}
_WORDS = {
    Status.APPROVED: "approved",
    Status.EXCEPTION: "approved for who has an exception",
    Status.LEGACY: "legacy",
    Status.NOT_YET: "not approved yet",
    Status.PROHIBITED: "prohibited",
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the table is asked about. An empty algorithm or kind and no size mean that nobody has said."""

    algorithm: str
    size_bits: int | None
    kind: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an algorithm is on a day.

    `status` is that of a key which exists, `status_new` that of one made on the day. `since` is the first day of
    today's status where a date of the table brought it; `until` its last day and `next_status` what follows, if the
    table knows an end. `row` decides; it is None when no row speaks of the key.
    """

    status: Status
    status_new: Status
    row: AlgorithmRow | None
    security_strength_bits: int | None
    since: date | None
    until: date | None
    next_status: Status | None
    sentence: str

    @property
    def is_for_new_keys(self) -> bool:
        """Whether a key made today would be worth as much as one that exists."""
        return self.status_new == self.status

    @property
    def is_draft(self) -> bool:
        """Whether the deciding row, or its end, comes from a draft."""
        return self.row is not None and self.row.source_status.is_draft

    @property
    def changes_on(self) -> date | None:
        """The first day of the next status."""
        return self.until + DAY if self.until else None


def judge(facts: Facts, rows: Sequence[AlgorithmRow], day: date) -> Judgement:
    """Judge an algorithm on a day by every row that binds it. What no row speaks of is unknown, never approved."""
    if facts.algorithm.strip().casefold() == OPAQUE:
        return _without_row(Status.NOT_APPLICABLE, "A random string has no algorithm; its length and age count.", None)
    strength = security_strength(facts.algorithm, facts.size_bits)
    binding = rows_of(rows, claims(facts.algorithm, facts.size_bits, facts.kind))
    if not binding:
        return _without_row(Status.UNKNOWN, _why_unknown(facts), strength)
    return judge_rows(binding, day, strength_bits=strength)


def judge_rows(rows: Sequence[AlgorithmRow], day: date, *, strength_bits: int | None = None) -> Judgement:
    """Judge what is bound by all of these rows, at least one; the strictest decides, of equal ones the first to end."""
    today = _strictest(rows, day)
    changes = sorted({change for row in rows for change in row.changes_on if change > day})
    change = next((change for change in changes if _strictest(rows, change) != today), None)
    row = min(rows, key=lambda row: (*_rank(row.statuses(day)), min(_later(row, day), default=date.max)))
    following = _strictest(rows, change).existing if change else None
    since = max((past for past in row.changes_on if past <= day), default=None)
    judged = Judgement(
        status=today.existing,
        status_new=today.new,
        row=row,
        security_strength_bits=row.classical_bits if strength_bits is None else strength_bits,
        since=since,
        until=change - DAY if change else None,
        next_status=following,
        sentence="",
    )
    return _with_sentence(judged, row)


def _strictest(rows: Sequence[AlgorithmRow], day: date) -> Statuses:
    said = [row.statuses(day) for row in rows]
    return Statuses(
        max((one.new for one in said), key=_SEVERITY.__getitem__),
        max((one.existing for one in said), key=_SEVERITY.__getitem__),
    )


def _rank(said: Statuses) -> tuple[int, int]:
    """Sort the strictest first."""
    return -_SEVERITY[said.existing], -_SEVERITY[said.new]


def _later(row: AlgorithmRow, day: date) -> list[date]:
    return [change for change in row.changes_on if change > day]


def _without_row(status: Status, sentence: str, strength: int | None) -> Judgement:
    return Judgement(
        status=status,
        status_new=status,
        row=None,
        security_strength_bits=strength,
        since=None,
        until=None,
        next_status=None,
        sentence=sentence,
    )


def _why_unknown(facts: Facts) -> str:
    if not facts.algorithm.strip():
        return "The algorithm is not recorded. Enter it, or “opaque” for a random string."
    size = f" with {facts.size_bits} bits" if facts.size_bits else " without a size"
    return (
        f"No line of the table speaks of “{shown(facts.algorithm)}”{size}, so nobody has approved it. Enter algorithm "
        "and size as the table names them, or ask Security for a line."
    )


def _with_sentence(judged: Judgement, row: AlgorithmRow) -> Judgement:
    said = [f"{row.words} ({', '.join(row.use.split('|'))}) is {_WORDS[judged.status]}{_ending(judged, row)}."]
    if not judged.is_for_new_keys:
        said.append(f"For new keys it is {_WORDS[judged.status_new]}.")
    if row.source_status == SourceStatus.DRAFT:
        said.append("This line comes from a draft.")
    said.append(f"Source: {row.source}.")
    return Judgement(**{**vars(judged), "sentence": " ".join(said)})


def _ending(judged: Judgement, row: AlgorithmRow) -> str:
    draft = " (draft date)" if row.source_status == SourceStatus.DRAFT_DATE else ""
    if judged.until and judged.next_status == judged.status:
        return f" for existing keys; for new ones that changes after {judged.until:%-d %B %Y}{draft}"
    if judged.until and judged.next_status:
        return f" until {judged.until:%-d %B %Y}{draft}, then {_WORDS[judged.next_status]}"
    if judged.since and row.has_ended(judged.since):
        return f" since {judged.since:%-d %B %Y}{draft}"
    return ""
