"""The signer: what it signs, when, under which key, and what it refuses to sign."""

import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from audit import chain, checkpoints, notes, selectors, tiles, tree
from audit.actions import Action
from audit.actor import Actor
from audit.checkpoints import CheckpointError, begin_epoch, make_checkpoint, make_due_checkpoint
from audit.errors import AuditError
from audit.held_keys import present_signing_key
from audit.models import Anchoring, Event, SignedCheckpoint, SigningEpoch, Tile
from audit.services import Subject, record
from audit.tiles import GrowingTree
from tests.engines import ROOT, superuser_connection

Fill = Callable[[int], None]
Seal = Callable[[], None]
Role = Callable[[str], AbstractContextManager[None]]
SIGNER = Actor.system("signer")
KEY, NEXT_KEY = bytes(range(7, 39)), bytes(range(90, 122))
NAME = "keys.example.org/audit"


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    settings.SIGNING_KEY, settings.LOG_ORIGIN, settings.ANCHORS = KEY, NAME, []
    settings.SECRET_SOURCES = {**settings.SECRET_SOURCES, "KEYVAULT_SIGNING_KEY": "file:///run/secrets/signing_key"}


@pytest.fixture
def sign(as_role: Role, seal_events: Seal, now: datetime) -> Callable[..., notes.Checkpoint | None]:
    """Return a function that makes a checkpoint as the signer and seals its event."""

    def make(act: Callable[..., notes.Checkpoint | None] = make_checkpoint, **more: object) -> notes.Checkpoint | None:
        with as_role("signer"):
            made = act(**{"actor": SIGNER, "now": now, **more})
            seal_events()
        return made

    return make


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1 word for word, from all leaves at once."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\x01" + naive_root(leaves[:half]) + naive_root(leaves[half:])).digest()


def leaves() -> list[bytes]:
    rows = Event.objects.order_by("number").values_list("number", "stamp", "body")
    return [sha256(b"\0" + chain.entry(number, bytes(stamp), bytes(body))).digest() for number, stamp, body in rows]


def actions() -> list[str]:
    return list(Event.objects.order_by("number").values_list("action", flat=True))


def verifier_of(key: bytes) -> notes.Verifier:
    return notes.Verifier(NAME, Ed25519PrivateKey.from_private_bytes(key).public_key())


def said_in(row: SignedCheckpoint, key: bytes = KEY) -> notes.Checkpoint:
    """Read a note with a key that does not come from the database."""
    return notes.parse_checkpoint(notes.open_note(row.note, [verifier_of(key)])[0])


# What is signed


@pytest.mark.django_db
def test_make_checkpoint_signs_size_root_head_time_and_epoch(fill: Fill, sign: Callable, now: datetime) -> None:
    fill(5)
    made = sign()
    row = SignedCheckpoint.objects.get()
    assert said_in(row) == made
    assert (made.origin, made.size, made.time, made.epoch, made.previous) == (NAME, 5, now, 1, bytes(32))
    assert made.root == naive_root(leaves()[:5])
    assert made.head == bytes(Event.objects.get(number=5).digest)
    assert (row.size, bytes(row.root), bytes(row.head), row.made_at) == (5, made.root, made.head, now)
    assert bytes(row.digest) == sha256(made.text.encode()).digest()
    assert SigningEpoch.objects.get().verifier == str(verifier_of(KEY))
    assert actions()[5:] == [Action.SIGNING_KEY_EPOCH_BEGUN, Action.CHECKPOINT_MADE]
    assert selectors.event(7).said.facts["root"] == made.root.hex()


@pytest.mark.django_db
def test_the_next_one_names_the_one_before_and_holds_its_event(fill: Fill, sign: Callable, now: datetime) -> None:
    fill(3)
    first = sign()
    second = sign(now=now + timedelta(hours=1))
    assert (first.size, second.size) == (3, 5)  # and the two events that the first one left
    assert second.previous == first.digest
    proof = tree.consistency_proof(tiles.stored_nodes(), first.size, second.size)
    assert tree.is_consistent(first.size, first.root, second.size, second.root, proof)


@pytest.mark.django_db
def test_an_empty_log_is_not_signed(sign: Callable) -> None:
    assert sign() is None
    assert (SignedCheckpoint.objects.count(), SigningEpoch.objects.count()) == (0, 0)


@pytest.mark.parametrize("sizes", [[1], [2, 3], [255, 256, 257], [511, 512, 513, 1024], [300, 700, 65_536 + 1]])
@pytest.mark.django_db
def test_a_tree_that_grows_in_steps_is_that_of_rfc_6962(as_role: Role, sizes: list[int]) -> None:
    every = [sha256(number.to_bytes(8, "big")).digest() for number in range(sizes[-1])]
    done = 0
    with as_role("signer"):
        for size in sizes:
            growing = GrowingTree(done)
            for leaf in every[done:size]:
                growing.add(leaf)
            growing.save()
            done = size
            assert (growing.size, growing.root()) == (size, naive_root(every[:size]))
            assert tree.root_of(tiles.stored_nodes(), size) == growing.root()
            assert tiles.read_tile(0, (size - 1) // 256) == b"".join(every[(size - 1) // 256 * 256 : size])


@pytest.mark.django_db
def test_every_event_has_a_proof_from_the_tiles(fill: Fill, sign: Callable) -> None:
    for count in (100, 157, 40):
        fill(count)
        made = sign()
    nodes, hashed = tiles.stored_nodes(), leaves()
    for index in range(made.size):
        proof = tree.inclusion_proof(nodes, index, made.size)
        assert tree.root_from_inclusion(hashed[index], index, made.size, proof) == made.root


@pytest.mark.django_db
def test_what_a_checkpoint_reads_and_writes_does_not_grow_with_the_log(
    fill: Fill, sign: Callable, django_assert_max_num_queries: Callable
) -> None:
    fill(600)
    sign()
    fill(3)
    with django_assert_max_num_queries(40):
        sign()
    changed = {(tile.level, tile.index) for tile in Tile.objects.all()}
    assert changed == {(0, 0), (0, 1), (0, 2), (1, 0)}


@pytest.mark.django_db
def test_a_note_can_be_checked_by_hand_as_the_manual_says(fill: Fill, sign: Callable, tmp_path: Path) -> None:
    manual = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    commands = re.search(r"```sh\n(.+?)```", manual, re.DOTALL)
    assert commands
    fill(2)
    sign()
    (tmp_path / "verifier").write_text(f"{verifier_of(KEY)}\n")

    def check(note: str) -> str:
        (tmp_path / "note").write_text(note)
        done = subprocess.run(["sh", "-c", commands[1]], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    note = SignedCheckpoint.objects.get().note
    assert check(note) == "Signature Verified Successfully"
    assert check(note.replace("\n2\n", "\n3\n")) == "Signature Verification Failure"


# When


@pytest.mark.django_db
def test_a_checkpoint_is_due_after_so_many_events_or_so_long(
    fill: Fill, sign: Callable, now: datetime, settings: Settings
) -> None:
    settings.CHECKPOINT_EVENTS, settings.CHECKPOINT_EVERY = 10, timedelta(minutes=60)
    fill(1)
    assert sign(make_due_checkpoint) is not None  # the first one: at once
    fill(9)
    assert sign(make_due_checkpoint, now=now + timedelta(minutes=59)) is None
    assert sign(make_due_checkpoint, now=now + timedelta(minutes=60)) is not None
    fill(10)
    assert sign(make_due_checkpoint, now=now + timedelta(minutes=61)) is not None


@pytest.mark.django_db
def test_checkpoints_bring_about_no_checkpoints(fill: Fill, sign: Callable, now: datetime, seal_events: Seal) -> None:
    fill(1)
    sign(make_due_checkpoint)
    later = now + timedelta(hours=23)
    record(Action.NOTICE_DELIVERED, actor=SIGNER, now=later, subjects=[Subject(ref="digest:1")])
    record(Action.CHECKPOINT_ANCHORED, actor=SIGNER, now=later, subjects=[Subject(ref="checkpoint:1")])
    seal_events()
    assert sign(make_due_checkpoint, now=later) is None
    assert sign(make_due_checkpoint, now=now + timedelta(hours=24)) is not None  # that nothing happened is signed daily


@pytest.mark.django_db
def test_a_clock_that_was_set_back_signs_no_earlier_time_and_stops_nothing(
    fill: Fill, sign: Callable, now: datetime
) -> None:
    fill(1)
    first = sign()
    fill(1)
    second = sign(make_due_checkpoint, now=now - timedelta(hours=1))
    assert second.time == first.time == now
    assert selectors.latest_signing().said.at == now - timedelta(hours=1)
    fill(1)
    assert sign(make_due_checkpoint, now=now - timedelta(minutes=59)) is None


# What is not signed


@pytest.mark.django_db
def test_a_process_without_the_key_signs_nothing(fill: Fill, settings: Settings, now: datetime) -> None:
    fill(1)
    settings.SIGNING_KEY = None
    with pytest.raises(AuditError, match="holds no signing key"):
        make_checkpoint(actor=SIGNER, now=now)


@pytest.mark.parametrize("role", ["web", "worker", "beat", "command"])
@pytest.mark.django_db
def test_the_signers_login_alone_writes(fill: Fill, as_role: Role, now: datetime, role: str) -> None:
    fill(1)
    with pytest.raises(DatabaseError, match="permission denied"), as_role(role):  # with the key in hand
        make_checkpoint(actor=SIGNER, now=now)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit_event SET body = body || ' ' WHERE number = 5", "Event 5 does not follow"),
        ("UPDATE audit_event SET digest = sha256('x') WHERE number = 5", "Event 5 does not follow"),
        ("DELETE FROM audit_event WHERE number = 5", "Event 5 does not follow"),
        ("DELETE FROM audit_event WHERE number = 6", "5 are there"),
        ("UPDATE audit_head SET number = 2", "a checkpoint over 3 was signed"),
        ("UPDATE audit_tile SET digests = digests || sha256('x')", "are not whole"),
        ("DELETE FROM audit_tile", "are not whole"),
        ("UPDATE audit_checkpoint SET size = 2", "says something else"),
        ("UPDATE audit_checkpoint SET note = replace(note, 'epoch 1', 'epoch 2')", "does not belong to this text"),
    ],
)
@pytest.mark.django_db
def test_a_log_that_does_not_follow_on_what_was_signed_is_not_signed(
    fill: Fill, sign: Callable, as_role: Role, statement: str, said: str
) -> None:
    fill(3)
    sign()
    fill(1)
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute(statement)
    with pytest.raises(AuditError, match=said):
        sign()
    assert SignedCheckpoint.objects.count() == 1


@pytest.mark.django_db
def test_tiles_of_another_tree_are_not_signed(fill: Fill, sign: Callable, as_role: Role) -> None:
    fill(3)
    sign()
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_tile DISABLE TRIGGER USER")
        cursor.execute("UPDATE audit_tile SET digests = decode(repeat('ab', 96), 'hex')")
    with pytest.raises(CheckpointError, match="not those of the checkpoint at 3"):
        sign()


@pytest.mark.django_db
def test_a_tile_never_shrinks_nor_changes_in_the_signers_hands(fill: Fill, sign: Callable, as_role: Role) -> None:
    fill(3)
    sign()
    for digests in ("'\\x00'", "substring(digests FOR 32)", "set_byte(digests, 0, 1 - get_byte(digests, 0))"):
        with pytest.raises(DatabaseError), as_role("signer"), connection.cursor() as cursor:
            cursor.execute(f"UPDATE audit_tile SET digests = {digests}")


@pytest.mark.parametrize("table", ["audit_signing_epoch", "audit_checkpoint", "audit_tile", "audit_anchoring"])
@pytest.mark.django_db
def test_who_may_do_what_with_the_tables(as_role: Role, table: str) -> None:
    may: dict[str, list[str]] = {}
    for role in ("web", "worker", "beat", "signer", "command"):
        with as_role(role), connection.cursor() as cursor:
            cursor.execute(
                "SELECT array(SELECT p FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE']) p "
                "WHERE has_table_privilege(%s, p))",
                [table],
            )
            may[role] = cursor.fetchone()[0]
    others = {role: ["SELECT"] for role in ("web", "worker", "beat", "command")}
    assert may == {**others, "signer": ["SELECT", "INSERT"]}


# Epochs


@pytest.mark.django_db
def test_another_key_signs_only_after_its_epoch_was_begun(
    fill: Fill, sign: Callable, settings: Settings, now: datetime
) -> None:
    fill(2)
    first = sign()
    settings.SIGNING_KEY = NEXT_KEY
    with pytest.raises(CheckpointError, match="another one than that of epoch 1"):
        sign()
    second = sign(begin_epoch, reason="rotated", now=now + timedelta(hours=1))
    assert (second.epoch, second.previous) == (2, first.digest)
    assert said_in(SignedCheckpoint.objects.get(size=first.size), KEY) == first  # survives the rotation
    assert said_in(SignedCheckpoint.objects.get(size=second.size), NEXT_KEY) == second
    begun = selectors.timeline("signing_epoch:2")[0].said
    assert (begun.action, begun.reason) == (Action.SIGNING_KEY_EPOCH_BEGUN, "rotated")
    assert begun.facts == {"verifier": str(verifier_of(NEXT_KEY)), "kept_in": "file:///run/secrets/signing_key"}
    assert present_signing_key() == (verifier_of(NEXT_KEY).id, "file:///run/secrets/signing_key")
    fill(1)
    assert sign().epoch == 2


@pytest.mark.django_db
def test_a_key_that_has_ended_is_refused(fill: Fill, sign: Callable, settings: Settings) -> None:
    fill(2)
    sign()
    settings.SIGNING_KEY = NEXT_KEY
    sign(begin_epoch, reason="rotated")
    settings.SIGNING_KEY = KEY
    fill(1)
    for act in ({}, {"act": begin_epoch, "reason": "back"}):
        with pytest.raises(CheckpointError, match="epoch 1, which has ended"):
            sign(**act)


@pytest.mark.django_db
def test_an_epoch_needs_a_new_key(fill: Fill, sign: Callable) -> None:
    fill(2)
    sign()
    with pytest.raises(CheckpointError, match="already that of epoch 1"):
        sign(begin_epoch, reason="nothing new")


@pytest.mark.django_db
def test_the_name_of_the_log_stays_when_the_site_moves(fill: Fill, sign: Callable, settings: Settings) -> None:
    fill(2)
    sign()
    settings.LOG_ORIGIN = "elsewhere.example/audit"
    assert sign().origin == NAME


# Crashes and races


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", ["_grown", "_begin", "_save", "record"])
@pytest.mark.django_db
def test_a_kill_after_any_step_leaves_nothing(
    fill: Fill, sign: Callable, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path, step: str
) -> None:
    settings.ANCHORS = [f"file://{tmp_path}"]
    fill(300)
    done = getattr(checkpoints, step)

    def die(*words: object, **more: object) -> None:
        done(*words, **more)
        raise KilledError

    with monkeypatch.context() as killing:
        killing.setattr(checkpoints, step, die)
        with pytest.raises(KilledError):
            sign()
    for model in (SignedCheckpoint, SigningEpoch, Tile, Anchoring):
        assert model.objects.count() == 0
    assert len(actions()) == 300
    assert sign().size == 300
    assert Anchoring.objects.count() == 1


def test_of_two_signers_at_once_one_signs(committed_db: object, as_role: Role, settings: Settings) -> None:
    now = datetime.now(UTC)
    with transaction.atomic():
        for number in range(20):
            record(Action.KEY_EDITED, actor=SIGNER, now=now, subjects=[Subject(ref=f"key:{number}")])
    ready = Barrier(4)

    def race() -> object:
        ready.wait()
        try:
            return make_checkpoint(actor=SIGNER, now=now)
        finally:
            connection.close()

    with as_role("signer"):
        for _ in range(5):
            with ThreadPoolExecutor(4) as pool:
                made = [each.result() for each in [pool.submit(race) for _ in range(4)]]
            assert sum(one is not None for one in made) >= 1
        rows = list(SignedCheckpoint.objects.order_by("size"))
        said = [said_in(row) for row in rows]
        assert [one.previous for one in said[1:]] == [one.digest for one in said[:-1]]
        assert SigningEpoch.objects.count() == 1
        assert actions().count(Action.CHECKPOINT_MADE) == len(rows)


def test_a_signer_that_finds_another_at_it_goes_away(committed_db: object, as_role: Role) -> None:
    now = datetime.now(UTC)
    with transaction.atomic():
        record(Action.KEY_EDITED, actor=SIGNER, now=now)
    with superuser_connection() as superuser:
        facts = {**superuser.info.get_parameters(), "password": superuser.info.password}
    facts["dbname"] = connection.settings_dict["NAME"]
    with psycopg.connect(**facts) as other, as_role("signer"):
        other.execute("SELECT pg_advisory_xact_lock(hashtext('audit.checkpoint'))")
        assert make_checkpoint(actor=SIGNER, now=now) is None
        other.rollback()
        assert make_checkpoint(actor=SIGNER, now=now).size == 1


@pytest.mark.django_db
def test_memory_holds_a_few_hundred_events_at_once(fill: Fill, sign: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MOST_EVENTS", 100)
    monkeypatch.setattr(checkpoints, "FETCHED_ROWS", 7)
    monkeypatch.setattr(tiles, "WRITTEN_AT_ONCE", 1)
    fill(250)
    assert [sign().size for _ in range(3)] == [100, 200, 253]
    assert said_in(SignedCheckpoint.objects.get(size=253)).root == naive_root(leaves()[:253])
