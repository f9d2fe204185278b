"""A valid audit log of any size, for benches: chained events with copies, subjects and sealed identities, by COPY.

    from bench.audit_log import fill
    fill(owner, 1_000_000)          # a psycopg connection as the owner of the tables, or as the superuser

Django must be set up with the sealing key that the log is to be read with. It goes on where the log ends, and the same
seed makes the same acts. A body has about 495 bytes; 200 people, parts of the system and strangers act on some thousand
keys; `verify_audit` finds the log whole. Checkpoints are the signer's (`audit.checkpoints`), made between two fillings.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from audit.actions import Outcome
    from audit.actor import Actor
    from audit.sealing import PersonKeys
    from audit.services import Subject

PEOPLE = 200
CHUNK = 20_000
LEAP = timedelta(seconds=34)  # between two events: a million of them take 394 days
FIRST = datetime(2025, 10, 20, tzinfo=UTC)
ROLES = ("Security", "DevOps", "Engineering", "Engineering", "DevOps+Security", "Management")
SYSTEMS = ("beat", "worker", "signer", "command:import_inventory")
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
LOGINS = {"person": "keyvault_web", "anonymous": "keyvault_web", "system": "keyvault_worker"}
# What people do and how often, in a thousand; the path it comes by, the field that changes.
DONE = (
    ("key.edited", 300, "POST /inventory/key/{}/edit/", "owner"),
    ("key.rotated", 160, "POST /inventory/key/{}/rotate/", "last_rotated_on"),
    ("key.registered", 130, "POST /inventory/key/add/", "name"),
    ("session.opened", 130, "POST /login/", ""),
    ("session.closed", 80, "POST /logout/", ""),
    ("key.rotation_reported", 60, "POST /inventory/key/{}/report-rotation/", "last_rotated_on"),
    ("key.suspended", 40, "POST /inventory/key/{}/suspend/", "state"),
    ("key.activated", 60, "POST /inventory/key/{}/activate/", "state"),
    ("owner.edited", 40, "POST /inventory/owner/{}/edit/", "mail"),
)
EVENTS = (
    "number", "id", "digest", "stamp", "body", "identity", "action", "outcome", "at", "recorded_at", "actor_kind",
    "actor_id", "actor_role", "on_behalf_of", "path",
)  # fmt: skip
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
 WHERE tablename IN ('audit_event', 'audit_event_subject') AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""


def fill(owner: psycopg.Connection, events: int, *, seed: int = 5) -> None:
    """Append that many events and commit; indexes that are no constraint are made afterwards."""
    indexes = owner.execute(INDEXES).fetchall()
    for name, _ in indexes:
        owner.execute(sql.SQL("DROP INDEX public.{}").format(sql.Identifier(name)))
    log = _Log(owner, random.Random(seed))  # noqa: S311 - the same acts every time
    for begin in range(0, events, CHUNK):
        with owner.transaction():
            log.append(min(CHUNK, events - begin))
    for _, made in indexes:
        owner.execute(made.replace(" ON ONLY ", " ON "))  # on every partition
    owner.commit()
    owner.execute("ANALYZE audit_event")
    owner.execute("ANALYZE audit_event_subject")
    owner.commit()


class _Log:
    """Where the log ends, and who acts in it."""

    def __init__(self, owner: psycopg.Connection, chance: random.Random) -> None:
        self._owner = owner
        self._chance = chance
        self._number, self._digest = owner.execute("SELECT number, digest FROM audit_head").fetchone()
        (last,) = owner.execute("SELECT max(recorded_at) FROM audit_event").fetchone()
        self._moment = max(last or FIRST, FIRST + self._number * LEAP).astimezone(UTC)
        self._keys: dict[str, PersonKeys] = {}

    def append(self, events: int) -> None:
        """Copy that many events in and move the head behind them."""
        rows, lines = [], []
        for _ in range(events):
            row, subjects = self._event()
            rows.append(row)
            lines += [(ref, row[0], position) for position, ref in enumerate(subjects, start=1)]
        while True:
            (room,) = self._owner.execute("SELECT audit_capacity() - %s", [self._number]).fetchone()
            if room >= 0:
                break
            self._owner.execute("UPDATE audit_head SET number = audit_capacity()")  # or none would be made
            self._owner.execute("SELECT audit_extend()")
        _copy(self._owner, "audit_event", EVENTS, rows)
        _copy(self._owner, "audit_event_subject", ("subject", "number", "position"), lines)
        self._owner.execute("UPDATE audit_head SET number = %s, digest = %s", [self._number, self._digest])
        self._owner.execute("SELECT audit_extend()")

    def _event(self) -> tuple[tuple[Any, ...], list[str]]:
        from audit import body, chain
        from audit.canonical import timestamp

        self._number += 1
        self._moment += LEAP
        action, outcome, actor, subjects, reason = self._act()
        event_id, at = UUID(int=self._chance.getrandbits(128), version=4), self._moment - timedelta(milliseconds=40)
        digest, sealed = self._identity(event_id, actor, at)
        raw = body.compose(
            event_id, action, outcome,
            actor=actor, identity_digest=digest, at=at, subjects=subjects, reason=reason, facts={},
        )  # fmt: skip
        login, process, now = LOGINS[actor.kind], str(1_000 + self._number % 40), timestamp(self._moment)
        fields = (chain.STAMP_LABEL.decode(), login, process, str(700 + self._number), now, "")
        stamp = "\0".join(fields).encode()
        self._digest = chain.chain_digest(self._digest, self._number, stamp, raw)
        copies = (action, outcome, at, self._moment, actor.kind, actor.id, actor.role, actor.on_behalf_of, actor.path)
        refs = [subject.ref for subject in subjects]
        return (self._number, event_id, self._digest, stamp, raw, sealed, *copies), refs

    def _act(self) -> "tuple[Any, Any, Actor, list[Subject], str]":
        """Return action, outcome, actor, subjects and reason: 85 % people, 12 % the system, 3 % strangers."""
        from audit.actions import Action, Outcome
        from audit.actor import Actor, Identity
        from audit.services import Subject

        drawn = self._chance.randrange(100)
        if drawn < 3:
            address = f"198.51.100.{self._chance.randrange(250)}"
            identity = Identity(name="", mail="", address=address, agent=AGENT)
            stranger = Actor(kind="anonymous", id="anonymous", path="POST /login/", identity=identity)
            return Action.SESSION_REFUSED, Outcome.REFUSED, stranger, [], "wrong name, password or code"
        if drawn < 15:
            keys = [Subject(ref=f"key:{self._key()}", label="late") for _ in range(2)]
            few = list({subject.ref: subject for subject in keys}.values())
            system = Actor.system(self._chance.choice(SYSTEMS), on_behalf_of=f"user:{drawn}" if drawn % 2 else "")
            return Action.KEY_FLAGGED_OVERDUE, Outcome.DONE, system, few, ""
        outcome = Outcome.REFUSED if self._chance.randrange(50) == 0 else Outcome.DONE
        return self._of_person(outcome)

    def _of_person(self, outcome: "Outcome") -> "tuple[Any, Any, Actor, list[Subject], str]":
        from audit.actions import Action
        from audit.actor import Actor, Identity
        from audit.services import Subject

        number, key = self._chance.randrange(PEOPLE) + 1, self._key()
        action, _, path, field = self._chance.choices(DONE, weights=[each[1] for each in DONE])[0]
        actor = Actor(
            kind="person",
            id=f"user:{number}",
            role=ROLES[number % len(ROLES)],
            verified_by=f"totp:{number}",
            verified_at=self._moment - timedelta(minutes=number % 50),
            path=path.format(key),
            identity=Identity(
                name=f"Person {number}", mail=f"p{number}@example.org", address=f"192.0.2.{number}", agent=AGENT
            ),
        )
        if not field:
            return Action(action), outcome, actor, [Subject(ref=actor.id, label=f"person {number}")], ""
        noun = action.partition(".")[0]
        change = Subject(
            ref=f"{noun}:{key}",
            label=f"payments/{noun}-{key}",
            before={field: f"person{key % 97}"},
            after={field: f"person{number}"},
        )
        return Action(action), outcome, actor, [change], "moved with the service" if key % 3 else ""

    def _key(self) -> int:
        """Return a key: a few are in many events, most in some."""
        return min(self._chance.randrange(5_000), self._chance.randrange(20_000)) + 1

    def _identity(self, event_id: UUID, actor: "Actor", at: datetime) -> tuple[str, bytes | None]:
        from audit import body

        if actor.identity is None:
            return "", None
        keys = self._keys_of(body.identity_holder(actor.kind, actor.id, at))
        facts = body.canonical_identity(actor.identity)
        return keys.digest(facts).hex(), keys.sealer.seal(facts, context=f"event:{event_id}")

    def _keys_of(self, holder: str) -> "PersonKeys":
        from audit import sealing

        if holder not in self._keys:
            made = sealing.new_identity_key(holder)
            (kept,) = self._owner.execute("SELECT audit_identity_make(%s, %s)", [holder, made]).fetchone()
            self._keys[holder] = sealing.person_keys(holder, bytes(kept))
        return self._keys[holder]


def _copy(owner: psycopg.Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with owner.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)) as copy:
        for row in rows:
            copy.write_row(row)
