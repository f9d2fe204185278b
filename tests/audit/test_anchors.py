"""Checkpoints leave the database: to a folder, by mail, to a syslog; tried again until it is done, and missed aloud."""

import base64
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from django.core import mail
from pytest_django import Settings

from audit import anchoring, selectors
from audit.actions import Action
from audit.actor import Actor
from audit.anchors import KINDS, Anchor, AnchorError, SentCheckpoint, configured_anchors
from audit.anchors.files import FileAnchor
from audit.anchors.syslog import SyslogAnchor
from audit.checkpoints import make_checkpoint
from audit.models import Anchoring, Event, SignedCheckpoint
from rotation import notifications
from tests.audit.collectors import Collector, make_authority

Fill = Callable[[int], None]
Role = Callable[[str], AbstractContextManager[None]]
SIGNER = Actor.system("signer")
WAITING, DELIVERED, GIVEN_UP = Anchoring.State.WAITING, Anchoring.State.DELIVERED, Anchoring.State.GIVEN_UP


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    settings.SIGNING_KEY, settings.LOG_ORIGIN, settings.ANCHORS = bytes(range(7, 39)), "keys.example.org/audit", []


@pytest.fixture
def sign(as_role: Role, seal_events: Callable[[], None], now: datetime) -> Callable[..., SignedCheckpoint]:
    """Return a function that makes a checkpoint over one more event than the last one, at least."""

    def make(at: datetime = now) -> SignedCheckpoint:
        with as_role("signer"):
            made = make_checkpoint(actor=SIGNER, now=at)
            seal_events()
        return SignedCheckpoint.objects.get(size=made.size)

    return make


@pytest.fixture
def deliver(as_role: Role, seal_events: Callable[[], None], now: datetime) -> Callable[..., tuple[int, int]]:
    def run(at: datetime = now) -> tuple[int, int]:
        with as_role("signer"):
            done = anchoring.deliver(actor=SIGNER, now=at)
            seal_events()
        return done.delivered, done.failed

    return run


def sent_of(row: SignedCheckpoint) -> SentCheckpoint:
    return SentCheckpoint(size=row.size, made_at=row.made_at, note=row.note, digest=bytes(row.digest))


def states() -> list[tuple[str, int]]:
    return list(Anchoring.objects.order_by("pk").values_list("state", "tries"))


# A folder


@pytest.mark.django_db
def test_a_folder_takes_one_file_for_each_and_nothing_else(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings, tmp_path: Path, now: datetime
) -> None:
    settings.ANCHORS = [tmp_path.as_uri()]
    fill(3)
    made = [sign(), sign(now + timedelta(minutes=1))]
    assert deliver(now + timedelta(minutes=1)) == (2, 0)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{row.size:015}.checkpoint": row.note for row in made
    }
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o444}
    assert [row.receipt for row in Anchoring.objects.order_by("pk")] == [
        str(path) for path in sorted(tmp_path.iterdir())
    ]
    assert deliver(now + timedelta(minutes=2)) == (0, 0)
    told = [event.said for event in selectors.timeline(f"checkpoint:{made[0].size}")]
    assert [said.action for said in told] == [Action.CHECKPOINT_ANCHORED, Action.CHECKPOINT_MADE]
    assert told[0].facts["kind"] == "file"


@pytest.mark.django_db
def test_a_file_is_never_replaced_and_the_same_one_is_well(
    fill: Fill, sign: Callable, tmp_path: Path, now: datetime
) -> None:
    fill(1)
    sent, anchor = sent_of(sign()), FileAnchor(tmp_path.as_uri())
    path = Path(anchor.deliver(sent, now=now))
    assert anchor.deliver(sent, now=now) == str(path)
    path.chmod(0o644)
    path.write_text("another\n")
    with pytest.raises(AnchorError, match="holds another checkpoint"):
        anchor.deliver(sent, now=now)
    assert path.read_text() == "another\n"


@pytest.mark.django_db
def test_a_folder_knows_a_log_that_was_cut(fill: Fill, sign: Callable, tmp_path: Path, now: datetime) -> None:
    fill(9)
    anchor, real = FileAnchor(tmp_path.as_uri()), sent_of(sign())
    anchor.deliver(real, now=now)
    cut = SentCheckpoint(size=4, made_at=now + timedelta(minutes=1), note=real.note, digest=real.digest)
    with pytest.raises(AnchorError, match="over more events \\(9 instead of 4\\): the log was cut"):
        anchor.deliver(cut, now=now)
    late = SentCheckpoint(size=4, made_at=now - timedelta(minutes=1), note="late", digest=real.digest)
    assert anchor.deliver(late, now=now)  # one that waited longer than the next is no lie


@pytest.mark.django_db
def test_what_a_crash_left_behind_is_written_anew(fill: Fill, sign: Callable, tmp_path: Path, now: datetime) -> None:
    fill(1)
    sent = sent_of(sign())
    draft = tmp_path / ".000000000000001.checkpoint.draft"
    draft.write_text("half")
    draft.chmod(0o444)
    FileAnchor(tmp_path.as_uri()).deliver(sent, now=now)
    assert [path.name for path in tmp_path.iterdir()] == ["000000000000001.checkpoint"]


def test_a_folder_with_other_things_is_refused(tmp_path: Path, now: datetime) -> None:
    (tmp_path / "x.checkpoint").write_bytes(b"\xff")
    sent = SentCheckpoint(size=1, made_at=now, note="n", digest=bytes(32))
    with pytest.raises(AnchorError, match="is no checkpoint"):
        FileAnchor(tmp_path.as_uri()).deliver(sent, now=now)
    with pytest.raises(AnchorError, match="No such file"):
        FileAnchor((tmp_path / "missing").as_uri()).deliver(sent, now=now)


# Mail


@pytest.mark.django_db
def test_mail_goes_through_the_outbox_once_and_has_arrived_when_it_was_sent(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings, as_role: Role, now: datetime,
    seal_events: Callable[[], None],
) -> None:  # fmt: skip
    settings.ANCHORS = ["mail:audit@example.org", "mail:board@example.com"]
    fill(1234)
    made = sign()
    assert deliver() == (0, 0)  # waits in the outbox
    assert [row.error for row in Anchoring.objects.all()] == ["The letter waits in the outbox."] * 2
    with as_role("worker"):
        assert notifications.deliver(actor=Actor.system("worker"), now=now) == 2
        seal_events()
    assert deliver(now + timedelta(seconds=30)) == (0, 0)  # asked again after a minute
    assert deliver(now + timedelta(minutes=1)) == (2, 0)
    assert sorted(each.to[0] for each in mail.outbox) == ["audit@example.org", "board@example.com"]
    text = mail.outbox[0].message().get_payload(0).get_payload(decode=True).decode()
    assert text.replace("\r\n", "\n").split("-" * 70 + "\n")[1] == made.note
    assert {row.receipt for row in Anchoring.objects.all()} == {
        each.extra_headers["Message-ID"] for each in mail.outbox
    }
    log = b"".join(bytes(body) for body in Event.objects.values_list("body", flat=True))
    assert b"audit@example.org" not in log


@pytest.mark.django_db
def test_mail_that_the_outbox_gave_up_is_an_error(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings, as_role: Role, now: datetime
) -> None:
    from rotation.models import Digest

    settings.ANCHORS = ["mail:audit@example.org"]
    fill(1)
    sign()
    deliver()
    with as_role("worker"):
        Digest.objects.update(state="failed")
    assert deliver(now + timedelta(minutes=1)) == (0, 1)
    assert Anchoring.objects.get().error == "The mail server did not take the letter; see Mail."


# Syslog


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.close()


def read_message(framed: bytes) -> dict[str, str]:
    """Read one message as RFC 6587 and RFC 5424 frame it."""
    length, _, said = framed.partition(b" ")
    assert int(length) == len(said)
    found = re.fullmatch(
        r"<109>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) [!-~]{1,255} keyvault-admin - checkpoint - (.+)",
        said.decode(),
    )
    assert found
    return dict(word.split("=", 1) for word in found[2].split(" "))


@pytest.mark.django_db
def test_syslog_over_tcp_takes_the_whole_note(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings, collector: Collector
) -> None:
    settings.ANCHORS = [f"syslog://127.0.0.1:{collector.port}"]
    fill(1)
    made = sign()
    assert deliver() == (1, 0)
    said = read_message(collector.heard.get(timeout=5))
    assert base64.b64decode(said["note"]).decode() == made.note
    assert (said["size"], said["sha256"]) == ("1", bytes(made.digest).hex())


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    return make_authority(tmp_path)


def test_syslog_over_tls_verifies_whom_it_talks_to(
    authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    path, context = authority
    server = Collector(context)
    sent = SentCheckpoint(size=7, made_at=now, note="a\n\nb\n", digest=sha256(b"a").digest())
    anchor = SyslogAnchor(f"syslog+tls://127.0.0.1:{server.port}")
    try:
        with pytest.raises(AnchorError, match="No TLS with"):
            anchor.deliver(sent, now=now)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        assert anchor.deliver(sent, now=now) == f"sent to syslog+tls://127.0.0.1:{server.port}"
        assert read_message(server.heard.get(timeout=5))["size"] == "7"
    finally:
        server.close()


def test_a_local_socket_takes_one_datagram(tmp_path: Path, now: datetime) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        sent = SentCheckpoint(size=7, made_at=now, note="a\n\nb\n", digest=bytes(32))
        SyslogAnchor(f"syslog+unix://{tmp_path}/log").deliver(sent, now=now)
        assert server.recv(65_536).startswith(b"<109>1 2026-11-21T09:00:00.000000Z ")


# Again and again


@pytest.mark.django_db
def test_a_failed_delivery_is_tried_later_and_its_reason_kept(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings, tmp_path: Path, now: datetime
) -> None:
    folder = tmp_path / "later"
    settings.ANCHORS = [folder.as_uri()]
    fill(1)
    sign()
    sign(now + timedelta(minutes=1))
    at, tries = now + timedelta(minutes=1), []
    for _ in range(9):
        assert deliver(at) == (0, 1)
        row = Anchoring.objects.order_by("checkpoint_id")[0]
        tries.append(row.next_at - at)
        assert deliver(row.next_at - timedelta(seconds=1))[0] == 0
        at = row.next_at
    assert [pause.total_seconds() / 60 for pause in tries] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert "did not take the file: No such file or directory" in row.error
    folder.mkdir()
    assert deliver(at + timedelta(hours=1)) == (2, 0)
    assert [row.error for row in Anchoring.objects.all()] == ["", ""]


@pytest.mark.django_db
def test_one_anchor_that_fails_keeps_no_other_back(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings, tmp_path: Path
) -> None:
    settings.ANCHORS = ["syslog://127.0.0.1:1", tmp_path.as_uri()]
    fill(1)
    sign()
    sign()
    assert deliver() == (2, 1)
    assert states() == [(WAITING, 1), (DELIVERED, 1), (WAITING, 0), (DELIVERED, 1)]


@pytest.mark.django_db
def test_a_delivery_is_given_up_after_a_week(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings, now: datetime
) -> None:
    settings.ANCHORS = ["syslog://127.0.0.1:1"]
    fill(1)
    made = sign()
    assert deliver(now + timedelta(days=6)) == (0, 1)
    assert deliver(now + timedelta(days=7)) == (0, 1)
    assert states() == [(GIVEN_UP, 2)]
    last = selectors.timeline(f"checkpoint:{made.size}")[0].said
    assert (last.action, last.outcome) == (Action.CHECKPOINT_ANCHORED, "failed")


@pytest.mark.django_db
def test_an_anchor_that_was_taken_out_is_given_up(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings
) -> None:
    settings.ANCHORS = ["syslog://127.0.0.1:1"]
    fill(1)
    sign()
    settings.ANCHORS = []
    deliver()
    assert states() == [(GIVEN_UP, 0)]


@pytest.mark.django_db
def test_what_a_dead_signer_had_claimed_comes_back_and_is_not_marked_twice(
    fill: Fill,
    sign: Callable,
    deliver: Callable,
    settings: Settings,
    tmp_path: Path,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first signer is slower than its lease: the second delivers, and the first finds that it is done."""
    settings.ANCHORS = [tmp_path.as_uri()]
    fill(1)
    sign()
    slow = FileAnchor.deliver

    class Slow(FileAnchor):
        def deliver(self, sent: SentCheckpoint, *, now: datetime) -> str:
            assert anchoring._deliver_to(FileAnchor(self.name), actor=SIGNER, now=now).delivered == 0  # leased
            late = now + anchoring.LEASE
            assert anchoring._deliver_to(FileAnchor(self.name), actor=SIGNER, now=late).delivered == 1
            return slow(self, sent, now=now)

    monkeypatch.setitem(KINDS, "file", Slow)
    assert deliver() == (0, 0)
    assert states() == [(DELIVERED, 2)]
    assert Event.objects.filter(action=Action.CHECKPOINT_ANCHORED).count() == 1


# Settings


@pytest.mark.parametrize(
    "address",
    ["ftp://x", "file:relative", "file://host/path", "mail:nobody", "mail:a@b@c", "syslog://", "syslog://u:pw@h:1",
     "syslog://h:99999", "syslog+unix://host", "syslog+unix:", "syslog://h?x", "nothing"],
)  # fmt: skip
def test_addresses_that_are_none_are_refused_without_being_repeated(settings: Settings, address: str) -> None:
    settings.ANCHORS = [address]
    with pytest.raises(AnchorError) as caught:
        configured_anchors()
    assert "KEYVAULT_ANCHORS" in str(caught.value)
    assert "pw" not in str(caught.value)


def test_several_anchors_are_chosen_at_once(settings: Settings) -> None:
    settings.ANCHORS = ["file:///var/checkpoints", "mail:a@example.org", "syslog+tls://h", "syslog+unix:///dev/log"]
    anchors = configured_anchors()
    assert list(anchors) == settings.ANCHORS
    assert all(isinstance(anchor, Anchor) for anchor in anchors.values())


# What is missed


@pytest.mark.django_db
def test_a_checkpoint_that_no_anchor_took_is_found_until_one_takes_it_or_a_later_one(
    fill: Fill, sign: Callable, deliver: Callable, settings: Settings, tmp_path: Path, now: datetime
) -> None:
    settings.ANCHORS = ["syslog://127.0.0.1:1"]
    fill(1)
    first = sign()
    deliver()
    assert selectors.unanchored() == first
    settings.ANCHORS = [tmp_path.as_uri()]
    sign(now + timedelta(hours=1))
    assert selectors.unanchored() == first
    deliver(now + timedelta(hours=1))
    assert selectors.unanchored() is None
    sign(now + timedelta(hours=2))
    deliver(now + timedelta(hours=2))
    assert selectors.unanchored() is None
    missed = sign(now + timedelta(hours=3))
    sign(now + timedelta(hours=4))
    assert selectors.unanchored() == missed
