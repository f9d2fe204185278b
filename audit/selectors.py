"""Reading the log. Pages are rendered from the hashed bytes, never from the columns beside them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from django.db import connection
from django.db.models import Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from audit import body, chain, sealing, sentences
from audit.actions import Action, Outcome
from audit.actor import Identity
from audit.body import Body, Subject
from audit.errors import AuditError
from audit.models import (
    Anchoring,
    Event,
    EventSubject,
    Head,
    IdentityKey,
    Period,
    SignedCheckpoint,
    SigningEpoch,
)
from audit.notes import Verifier

PAGE_EVENTS = 50
READ_AT_ONCE = 1_000
LOOKED_AT_VERIFICATIONS = 60  # two months of nights
# What follows from a checkpoint itself: no reason for the next one. Notices tell of events that are.
BOOKKEEPING = (
    Action.CHECKPOINT_MADE,
    Action.CHECKPOINT_ANCHORED,
    Action.SIGNING_KEY_EPOCH_BEGUN,
    Action.NOTICE_DELIVERED,
    Action.NOTICE_FAILED,
    Action.AUDIT_SHIPPED,
)


@dataclass(frozen=True)
class ReadEvent:
    """An event as its bytes tell it, with the identity beside it where that can still be read."""

    number: int
    digest: bytes
    stamp: bytes
    raw: bytes
    identity: Identity | None = field(default=None, repr=False)
    is_erased: bool = False  # the key of whoever acted was destroyed

    @cached_property
    def said(self) -> Body | None:
        """What the body says; None when it cannot be read, which `verify_audit` reports."""
        try:
            return body.parse(self.raw)
        except AuditError:
            return None

    @cached_property
    def stamped(self) -> chain.Stamp | None:
        """What the server's stamp says; None when it cannot be read."""
        try:
            return chain.parse_stamp(self.stamp)
        except AuditError:
            return None

    @property
    def who(self) -> str:
        """The name of whoever acted where it can still be read, else their reference."""
        if self.identity and self.identity.name:
            return self.identity.name
        if self.said is None:
            return "somebody"
        return f"erased person ({self.said.actor_id})" if self.is_erased else self.said.actor_id

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        return sentences.sentence(self.said, self.who) if self.said else "The body of this event cannot be read"

    def naming(self, names: Mapping[str, str]) -> "ReadEvent":
        """Return the event with names of people for the subjects that the bytes name by reference only."""
        unnamed = {subject.ref for subject in self.said.subjects if not subject.label} if self.said else set()
        if self.said is None or unnamed.isdisjoint(names):
            return self
        subjects = tuple(
            replace(subject, label=names.get(subject.ref, "")) if subject.ref in unnamed else subject
            for subject in self.said.subjects
        )
        named = replace(self)
        vars(named)["said"] = replace(self.said, subjects=subjects)  # instead of parsing it once more
        return named

    @property
    def changes(self) -> list[tuple[Subject, list[sentences.Change]]]:
        """Each subject with what changed on it."""
        return [(subject, sentences.changes(subject)) for subject in self.said.subjects] if self.said else []

    @property
    def text(self) -> str:
        """The bytes of the body as text, as they were hashed."""
        return self.raw.decode(errors="replace")

    @property
    def is_whole(self) -> bool:
        """Whether the page can say what happened."""
        return self.said is not None


def events(*, before: int | None = None, limit: int = PAGE_EVENTS) -> list[ReadEvent]:
    """Return the newest events, newest first, or those before a number; two queries."""
    rows = Event.objects.all() if before is None else Event.objects.filter(number__lt=before)
    return read(rows.order_by("-number")[:limit])


def event(number: int) -> ReadEvent | None:
    """Return the event of that number; two queries."""
    return next(iter(read(Event.objects.filter(number=number))), None)


def timeline(subject: str, limit: int = PAGE_EVENTS) -> list[ReadEvent]:
    """Return the events of one subject ("key:12"), newest first; two queries, one of them for the identities."""
    numbers = EventSubject.objects.filter(subject=subject).order_by("-number").values("number")[:limit]
    return read(Event.objects.filter(number__in=numbers).order_by("-number"))


def last_about(subject: str, actions: Sequence[Action]) -> ReadEvent | None:
    """Return the last event about a subject ("key:12") by which one of these things was done; at most two queries."""
    numbers = EventSubject.objects.filter(subject=subject).values("number")
    done = Event.objects.filter(number__in=numbers, action__in=actions, outcome=Outcome.DONE)
    return next(iter(read(done.order_by("-number")[:1])), None)


def was_told(subject: str, action: Action, since: datetime) -> bool:
    """Whether an event of this action speaks of a subject since then, whatever its outcome. Queries: 1."""
    numbers = EventSubject.objects.filter(subject=subject).values("number")
    return Event.objects.filter(number__in=numbers, action=action, at__gt=since).exists()


def latest_verification() -> ReadEvent | None:
    """Return the event of the last verification; its outcome says whether the log was whole. One query."""
    return next(iter(read(Event.objects.filter(action=Action.AUDIT_VERIFIED).order_by("-number")[:1])), None)


def latest_each(actions: Sequence[Action]) -> dict[str, ReadEvent]:
    """Return the last event of each action that there is one of, by action; one query, one more with identities."""
    numbers = [Event.objects.filter(action=one).order_by("-number").values("number")[:1] for one in actions]
    found = read(Event.objects.filter(Q(*[Q(number=Subquery(one)) for one in numbers], _connector=Q.OR)))
    return {event.said.action: event for event in found if event.said}


def begun_at() -> datetime | None:
    """Return when the first event that is kept was written; one query."""
    return Event.objects.order_by("number").values_list("recorded_at", flat=True).first()


@dataclass(frozen=True)
class Looks:
    """What was seen when somebody last looked at the log; None where nobody has.

    `standing` is the verification that says how the log stands. It is the latest, unless an earlier one has found
    something with more checkpoints from outside than any since: the nightly one, which is given none, does not take
    back what somebody has found with one.
    """

    latest: ReadEvent | None
    standing: ReadEvent | None
    compared: ReadEvent | None  # the last comparison of the inventory with the log


def looks() -> Looks:
    """Return how the log was last looked at; one query."""
    newest = Event.objects.order_by("-number")
    verified = newest.filter(action=Action.AUDIT_VERIFIED)[:LOOKED_AT_VERIFICATIONS]
    rows = verified.union(newest.filter(action=Action.INVENTORY_REPLAYED)[:1], all=True)
    done: dict[str, list[ReadEvent]] = {Action.AUDIT_VERIFIED: [], Action.INVENTORY_REPLAYED: []}
    for row in sorted(rows, key=lambda row: row.number, reverse=True):
        done[row.action].append(_read(row))
    verifications, comparisons = done.values()
    return Looks(next(iter(verifications), None), _standing(verifications), next(iter(comparisons), None))


def _standing(verifications: Sequence[ReadEvent]) -> ReadEvent | None:
    most = -1  # checkpoints from outside that were given to a later one
    for event in verifications:
        outside = _outside_given(event)
        if event.said and event.said.outcome != Outcome.DONE and outside > most:
            return event
        most = max(most, outside)
    return next(iter(verifications), None)


def _outside_given(event: ReadEvent) -> int:
    given = event.said.facts.get("outside") if event.said else None
    return given if isinstance(given, int) else 0


def count_done_by(actor_id: str, action: Action, *, since: datetime) -> int:
    """Count how often somebody did something after an instant, in business time; one query, over the actor's index.

    What the transaction at hand has recorded is not in the log yet.
    """
    done = Event.objects.filter(actor_id=actor_id, action=action, outcome=Outcome.DONE, at__gt=since)
    return done.count()


def numbers_naming(words: Iterable[str], *, most: int) -> list[int]:
    """Return the first events in whose hashed bytes one of the words stands as text; reads the whole log, one query.

    For what the log says of somebody in free text, such as a reason: nothing takes that out.
    """
    given = [word for word in dict.fromkeys(words) if word]
    if not given:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number FROM audit_event WHERE EXISTS "
            "(SELECT FROM unnest(%s::bytea[]) word WHERE position(word IN body) > 0) ORDER BY number LIMIT %s",
            [[word.encode() for word in given], most],
        )
        return [number for (number,) in cursor.fetchall()]


def acts_of(person: str) -> Iterator[ReadEvent]:
    """Yield every event that somebody did ("user:3"), the oldest first, with the identity where it can be read."""
    yield from _paged(Event.objects.filter(actor_id=person))


def events_about(person: str) -> Iterator[ReadEvent]:
    """Yield every event that somebody ("user:3") is a subject of, the oldest first."""
    numbers = EventSubject.objects.filter(subject=person).values("number")
    yield from _paged(Event.objects.filter(number__in=numbers))


def identity_key_of(person: str) -> tuple[datetime, datetime | None] | None:
    """Return when the identity key of somebody was made, and when it was destroyed; None without one. One query."""
    return IdentityKey.objects.filter(person=person).values_list("created_at", "erased_at").first()


def _paged(rows: QuerySet[Event]) -> Iterator[ReadEvent]:
    after = 0
    while page := read(rows.filter(number__gt=after).order_by("number")[:READ_AT_ONCE]):
        yield from page
        after = page[-1].number


def head_room() -> int:
    """Return how many events still fit before a partition is missing; one query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT audit_capacity() - number FROM audit_head")
        (room,) = cursor.fetchone()
    return int(room)


def head() -> Head:
    """Return where the chain ends; one query."""
    return Head.objects.get()


def beginning() -> chain.Position:
    """Return behind which event the log begins: none, or the last one that was dropped with its period. One query."""
    last = Period.objects.filter(dropped_at__isnull=False).order_by("-number").first()
    return chain.Position(last.last, bytes(last.digest_after)) if last else chain.BEGINNING


def partition_end(number: int) -> int | None:
    """Return the last number of the partition that an event belongs to; None where there is none. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT last FROM audit_partitions() WHERE parent = 'audit_event' AND %s BETWEEN first AND last", [number]
        )
        found = cursor.fetchone()
    return int(found[0]) if found else None


def periods() -> QuerySet[Period]:
    """Return the periods that were closed, the newest first; not yet asked for."""
    return Period.objects.select_related("checkpoint")


def period_of(number: int) -> Period | None:
    """Return the closed period that an event belongs to, whether it was dropped or not. One query."""
    return periods().filter(first__lte=number, last__gte=number).first()


def latest_checkpoint() -> SignedCheckpoint | None:
    """Return the checkpoint over most events; one query."""
    return SignedCheckpoint.objects.order_by("-size").first()


def signing_epochs() -> dict[int, Verifier]:
    """Return the public keys of the log by their epochs, the first first; one query. Raises: NoteError."""
    rows = SigningEpoch.objects.order_by("epoch").values_list("epoch", "verifier")
    return {epoch: Verifier.parse(verifier) for epoch, verifier in rows}


def events_to_sign(size: int) -> int:
    """Count the events after the first `size` that are no bookkeeping of checkpoints; two queries, both by index."""
    after = head().number - size
    return after - Event.objects.filter(action__in=BOOKKEEPING, number__gt=size).count()


def latest_signing() -> ReadEvent | None:
    """Return the event of the last checkpoint: it says when that was by the signer's clock. One query."""
    made = Event.objects.filter(action=Action.CHECKPOINT_MADE, outcome=Outcome.DONE)
    return next(iter(read(made.order_by("-number")[:1])), None)


def unsigned_since() -> datetime | None:
    """Return when the oldest event was written that no checkpoint covers, bookkeeping apart; one query."""
    last = Subquery(SignedCheckpoint.objects.order_by("-size").values("size")[:1])
    after = Event.objects.filter(number__gt=Coalesce(last, 0)).exclude(action__in=BOOKKEEPING)
    return after.order_by("number").values_list("recorded_at", flat=True).first()


def unanchored() -> SignedCheckpoint | None:
    """Return the oldest checkpoint that neither it nor a later one has reached any anchor; one query.

    A later one covers all earlier events, so what it reached stands for them.
    """
    reached = (
        Anchoring.objects.filter(state=Anchoring.State.DELIVERED).order_by("-checkpoint_id").values("checkpoint_id")
    )
    waiting = SignedCheckpoint.objects.filter(size__gt=Coalesce(Subquery(reached[:1]), 0))
    return waiting.order_by("size").first()


def read(rows: "QuerySet[Event] | Sequence[Event]") -> list[ReadEvent]:
    """Return rows as events; one query for the rows, one more for the keys of whatever identities they have."""
    listed = [(_read(row), bytes(row.identity) if row.identity else None) for row in rows]
    holders = {holder for event, sealed in listed if sealed and (holder := _holder(event))}
    keys, erased = _keys_and_erased(holders)
    return [_with_identity(event, sealed, keys, erased) if sealed else event for event, sealed in listed]


def identity_keys(holders: Iterable[str]) -> dict[str, sealing.PersonKeys]:
    """Return the keys of these people that were not erased and can be opened; one query, none for nobody."""
    return _keys_and_erased(holders)[0]


def _keys_and_erased(holders: Iterable[str]) -> tuple[dict[str, sealing.PersonKeys], set[str]]:
    """Return the keys that can be opened, and whose were erased; one query, none for nobody."""
    holders = set(holders)
    found: dict[str, sealing.PersonKeys] = {}
    erased: set[str] = set()
    if not holders:
        return found, erased
    for person, sealed_key in IdentityKey.objects.filter(person__in=holders).values_list("person", "sealed_key"):
        if sealed_key is None:
            erased.add(person)
            continue
        try:
            found[person] = sealing.person_keys(person, bytes(sealed_key))
        except AuditError:
            continue  # sealed under another key: the name is not shown, and `verify_audit` says so
    return found, erased


def _read(row: Event) -> ReadEvent:
    return ReadEvent(number=row.number, digest=bytes(row.digest), stamp=bytes(row.stamp), raw=bytes(row.body))


def _holder(event: ReadEvent) -> str | None:
    said = event.said
    return body.identity_holder(said.actor_kind, said.actor_id, said.at) if said else None


def _with_identity(event: ReadEvent, sealed: bytes, keys: dict[str, sealing.PersonKeys], erased: set[str]) -> ReadEvent:
    """Return the event with its identity, provided that it opens and is the one the body vouches for."""
    holder = _holder(event)
    if holder in erased:
        return replace(event, is_erased=True)
    if event.said is None or holder not in keys:
        return event
    try:
        facts = keys[holder].sealer.unseal(sealed, context=f"event:{event.said.id}")
        if keys[holder].digest(facts).hex() != event.said.identity_digest:
            return event
        identity = body.parse_identity(facts)
    except AuditError:
        return event
    return replace(event, identity=identity)
