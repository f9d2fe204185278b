"""The whole of a verification: sections are checked, joined, and compared with what was signed, here and outside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.db.models import Max

from audit import selectors
from audit.chain import Position
from audit.models import Event, SignedCheckpoint, Tile
from audit.notes import Verifier
from audit.stubs import stub_damage
from audit.tiles import stored_nodes
from audit.tree import DIGEST_BYTES, TILE_HEIGHT, TILE_WIDTH, Frontier, consistency_proof, is_consistent, root_of
from audit.verification import helpers, outside, reading, sections, signed
from audit.verification.copies import Tally
from audit.verification.damage import Damage, Finding
from audit.verification.diagnosis import first_bad
from audit.verification.leaves import Rows
from audit.verification.outside import Outside
from audit.verification.sections import Checked, Section
from audit.verification.signed import Computed, StoredCheckpoints

UPPER_ROWS = 3  # of tiles above a section: enough for 2^40 events
KEPT_WARNINGS = 20
Progress = Callable[[int, int], None]  # events checked, events there are


@dataclass(frozen=True)
class Verdict:
    """What one verification saw."""

    begin: Position
    end: Position  # the head
    events: int = 0  # that continue the chain
    findings: tuple[Finding, ...] = ()  # the first of each kind of look; the first of all is what began it
    warnings: tuple[str, ...] = ()
    subjects: int = 0
    identities: int = 0  # opened and found as vouched for
    erased: int = 0  # no longer readable, as the person's key was destroyed
    checkpoints: int = 0  # stored ones that the events agree with
    outside: int = 0  # given from outside
    is_pinned: bool = False  # whether the keys were given too
    root: bytes = b""  # of the tree over all events

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify(
    *,
    jobs: int = 1,
    given: Sequence[Outside] = (),
    pinned: Sequence[Verifier] = (),
    progress: Progress = lambda _done, _all: None,
) -> Verdict:
    """Check the whole log in one snapshot; events that are appended meanwhile wait for the next time.

    `jobs` is how many processes check; with 1, this one does, which alone is possible inside a transaction.
    `given` are checkpoints from outside. With `pinned`, no other public keys are believed, whatever the database names.
    """
    with reading.snapshot():
        run = _Run(given, pinned)
        with helpers.checking(jobs) as check:
            plan = list(run.plan())
            for section, checked in zip(plan, check(plan), strict=True):
                run.take(section, checked)
                progress(section.last - run.begin.number, run.end.number - run.begin.number)
        return run.verdict()


@dataclass
class _Found:
    """The first finding of each look."""

    chain: Finding | None = None
    copy: Finding | None = None
    tile: Finding | None = None
    keys: Finding | None = None
    checkpoint: Finding | None = None
    outside: list[Finding] = field(default_factory=list)

    def all(self) -> tuple[Finding, ...]:
        """Return them, what says most about the events before what is said about keys and the stored tree."""
        outside = {
            finding.damage: finding for finding in reversed(self.outside)
        }  # of many that say the same, the first
        signer = outside.pop(Damage.SIGNER, None)
        looks = (self.chain, self.copy, self.checkpoint, *outside.values(), self.keys, signer, self.tile)
        return tuple(found for found in looks if found)


class _Run:
    """One verification while it goes on. Sections come in order."""

    def __init__(self, given: Sequence[Outside], pinned: Sequence[Verifier]) -> None:
        head = selectors.head()
        self.begin = selectors.beginning()
        self.end = Position(head.number, bytes(head.digest))
        self._given, self._pinned = given, pinned
        self._position = self.begin  # as far as the chain holds
        self._is_broken = False
        self._found = _Found()
        self._tally = Tally()
        last = selectors.latest_checkpoint()
        self._signed = last.size if last else 0
        self._tree = self._tree_at(self.begin.number)
        self._edge: list[bytes] = []  # peaks of the last section
        self._epochs, self._found.keys = signed.stored_epochs(self.begin)
        self._stored = StoredCheckpoints(self._epochs, self.end.number)
        self._agreed = self.begin.number
        self._judge_stored(0, self.begin.number, {})
        self._found.keys = self._found.keys or self._unpinned()
        self._found.tile = self._stub()

    def plan(self) -> list[Section]:
        """Return the sections of what is there; a head that is set too far gives none of its own."""
        there = Event.objects.order_by("-number").values_list("number", flat=True).first() or 0
        marks = [each.said.size for each in self._given]
        return list(sections.plan(self.begin, min(there, self.end.number), self._signed, marks))

    def take(self, section: Section, checked: Checked) -> None:
        """Join a section to those before it."""
        self._add_up(checked)
        if self._is_broken:
            return
        computed = {mark.size: Computed(self._root(mark.size, mark.peaks), mark.head) for mark in checked.marks}
        self._judge_stored(section.begin.number, checked.end.number, computed)
        self._judge_given(section.begin.number, checked.end.number, computed)
        self._position = checked.end
        self._is_broken = checked.end.number != section.last
        self._found.tile = self._found.tile or checked.tile
        self._tree.add(checked.nodes)
        self._edge = checked.peaks

    def _add_up(self, checked: Checked) -> None:
        self._found.copy = self._found.copy or checked.copy
        self._tally.subjects += checked.tally.subjects
        self._tally.identities += checked.tally.identities
        self._tally.erased += checked.tally.erased
        self._tally.jumps += checked.tally.jumps[: KEPT_WARNINGS - len(self._tally.jumps)]

    def _root(self, size: int, peaks: Sequence[bytes]) -> bytes:
        return Frontier(size, [*self._tree.peaks(), *peaks]).root()

    def verdict(self) -> Verdict:
        """Look at what is left when all sections are joined, and say what was seen."""
        found = self._found
        found.chain = first_bad(reading.links(self._position.number), self._position, self.end) or self._before_begin()
        found.copy = found.copy or reading.stray_subject()
        self._judge_stored(self._position.number, None, {})
        self._judge_given(self._position.number, None, {})
        found.checkpoint = self._stored.finding or signed.missing_or_unknown(self.begin)
        if not self._is_broken:
            self._tree.end()
            found.tile = found.tile or self._upper_tile() or self._other_tiles()
        if forked := outside.forked(self._given):
            found.outside.append(forked)
        return Verdict(
            begin=self.begin,
            end=self.end,
            events=self._position.number - self.begin.number,
            findings=found.all(),
            warnings=tuple(self._tally.jumps),
            subjects=self._tally.subjects,
            identities=self._tally.identities,
            erased=self._tally.erased,
            checkpoints=self._stored.agreeing,
            outside=len(self._given),
            is_pinned=bool(self._pinned),
            root=b"" if self._is_broken else self._root(self._position.number, self._edge),
        )

    # Checkpoints

    def _judge_stored(self, after: int, last: int | None, computed: dict[int, Computed]) -> None:
        rows = SignedCheckpoint.objects.filter(size__gt=after) if after else SignedCheckpoint.objects.all()
        if last is not None:
            rows = rows.filter(size__lte=last)
        for row in rows.order_by("size").iterator(signed.FETCHED_ROWS):
            self._stored.judge(row, computed.get(row.size))

    def _judge_given(self, after: int, last: int | None, computed: dict[int, Computed]) -> None:
        """Judge what was given from outside for these sizes; before the first section, also for all smaller ones."""
        for each in self._given:
            size = each.said.size
            is_dropped = after == self.begin.number and size <= after
            if not is_dropped and (size <= after or (last is not None and size > last)):
                continue
            found = [outside.signer_finding(each, self._pinned, list(self._epochs.values()))]
            found.append(self._dropped(each) if is_dropped else self._compared(each, computed.get(size)))
            self._found.outside += [finding for finding in found if finding]

    def _compared(self, each: Outside, computed: Computed | None) -> Finding | None:
        size = each.said.size
        if size > self.end.number:
            words = f"{each.name} was signed, and the log ends at event {self.end.number:,}"
            return Finding(self.end.number + 1, Damage.TRUNCATION, words)
        found = signed.differs(f"the checkpoint in {each.source}", each.said, computed, self._agreed)
        if found is None and computed:
            self._agreed = size
        return found or _unlike_stored(each)

    def _dropped(self, each: Outside) -> Finding | None:
        """Compare a checkpoint over events that were dropped with the tree that is still kept."""
        size, begin = each.said.size, self.begin.number
        if not size:
            return _unlike_stored(each)
        try:
            nodes = stored_nodes()
            root, proof = root_of(nodes, begin), consistency_proof(nodes, size, begin)
        except LookupError as error:
            return Finding(begin, Damage.TILE, f"the tree of the events that were dropped is not whole: {error}")
        if not is_consistent(size, each.said.root, begin, root, proof):
            words = f"{each.name} is not of the log whose first {begin:,} events were dropped"
            return Finding(size, Damage.REWRITE, words)
        return None

    def _unpinned(self) -> Finding | None:
        """Return the first key of the database that is none of those given."""
        given = {str(verifier) for verifier in self._pinned}
        for epoch, verifier in self._epochs.items():
            if given and str(verifier) not in given:
                words = (
                    f"the database names {verifier} as the key of epoch {epoch}; it is none of those given with --key"
                )
                return Finding(0, Damage.SIGNER, words)
        return None

    # The tree

    def _tree_at(self, size: int) -> Rows:
        prefixes = []
        first = sections.ROWS
        for row in range(first, first + UPPER_ROWS):
            nodes = size >> TILE_HEIGHT * row
            prefixes.append(_stored_tile(row, nodes // TILE_WIDTH)[: nodes % TILE_WIDTH * DIGEST_BYTES])
        return Rows(first, prefixes, size, _stored_tile, self._signed)

    def _stub(self) -> Finding | None:
        """Where periods were dropped, their stubs must be vouched for by what was signed."""
        words = stub_damage()
        return Finding(self.begin.number, Damage.REWRITE, words) if words else None

    def _upper_tile(self) -> Finding | None:
        if self._tree.altered is None:
            return None
        row, index, leaf = self._tree.altered
        return Finding(leaf, Damage.TILE, f"tile {row}/{index} is not that of the events")

    def _other_tiles(self) -> Finding | None:
        """Return a stored tile that the signed tree does not have."""
        for row, index in Tile.objects.values_list("level").annotate(last=Max("index")):
            if index * TILE_WIDTH >= self._signed >> TILE_HEIGHT * row:
                return Finding(self._signed, Damage.TILE, f"tile {row}/{index} is of no tree that was signed")
        return None

    def _before_begin(self) -> Finding | None:
        stray = Event.objects.filter(number__lte=self.begin.number).order_by("number").first()
        if stray is None:
            return None
        words = "it stands before the place where the log begins"
        return Finding(stray.number, Damage.INSERT, words, stray.event_id)


def _stored_tile(row: int, index: int) -> bytes:
    digests = Tile.objects.filter(level=row, index=index).values_list("digests", flat=True).first()
    return b"" if digests is None else bytes(digests)


def _unlike_stored(each: Outside) -> Finding | None:
    """Compare a checkpoint from outside with the one that the database keeps over as many events."""
    size = each.said.size
    digest = SignedCheckpoint.objects.filter(size=size).values_list("digest", flat=True).first()
    if digest is None:
        words = f"{each.name} was signed, and the database does not have it"
        return Finding(size, Damage.REPLAY, words)
    if bytes(digest) != each.said.digest:
        words = f"the database has another checkpoint over {size:,} events than the one in {each.source}"
        return Finding(size, Damage.FORK, words)
    return None
