"""A source is asked over a real TLS connection, of which somebody listens to every byte.

Nothing is said to whoever is not the server that was registered: no login, no password, not even which database.
"""

import socket
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from django.utils import timezone

from audit.models import Event
from audit.selectors import read
from rotation.models import RequestState, RewrapSource
from rotation.rewrap import open_job
from rotation.rewrap.planning import Pace
from rotation.rewrap.working import Ended, work
from rotation.sources import SourceError, count_now, look
from rotation.sources.connecting import reading
from rotation.sources.errors import UnreachableError
from tests.approving import voters
from tests.inventory.world import events_of, seal
from tests.rotation.sources.elsewhere import WORKER, elsewhere, fill, make_kek, opened, registered, rotate, source_of
from tests.rotation.sources.tls import SSL_REQUEST, TlsPostgres, overheard, pem, programs, records

HELLO = 2_000  # bytes: what a client says of itself before it has seen a certificate, at most
GOODBYE = 88  # bytes, encrypted: that it has seen enough, and leaves
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server():
    if (where := programs()) is None:
        pytest.skip("NOT TESTED: no PostgreSQL of the system speaks TLS. Install the package postgresql.")
    made = TlsPostgres(where)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def far(server, settings, tmp_path):
    """A table on that server, and its worker's login; the settings name it by name."""
    folder = tmp_path / "passwords"
    folder.mkdir()
    server.change()
    with elsewhere("postgres", settings, folder, server.server) as made:
        settings.SOURCE_HOSTS = ["localhost"]
        yield made


@pytest.fixture
def line(server):
    with overheard(server.port) as one:
        yield one


@pytest.fixture
def kek(ring, db, as_role):
    with as_role("worker"):
        return make_kek()


def said_of(far, server, line, tmp_path, **changes):
    return {"host": "localhost", "port": line.port, "ca_file": server.ca_file(tmp_path)} | changes


def nothing_was_told(far, line):
    """Check that whoever answered has heard a greeting and a farewell, and nothing of who asks or for what."""
    password = Path(far.said["password_file"]).read_text().strip()
    assert line.said
    for said in line.said:
        assert not [one for one in (password, far.login, "data_keys", "keyvault-admin") if one.encode() in said]
        sent = records(said)
        assert sum(length for kind, length in sent if kind == "handshake") < HELLO
        assert sum(length for kind, length in sent if kind not in {"handshake", "change"}) <= GOODBYE


def test_the_right_ca_and_name_are_believed_and_a_job_goes_through_tls(server, far, line, kek, tmp_path, as_role):
    deks = fill(far, kek, "1", range(60))
    people = voters()
    request = registered(far, kek, people, **said_of(far, server, line, tmp_path))
    assert (request.state, request.closed_because) == (RequestState.EXECUTED, "")
    source = RewrapSource.objects.get()
    with reading(source) as connection:
        facts = connection.pgconn
        assert facts.ssl_in_use
        shown = connection.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert shown in {("TLSv1.2",), ("TLSv1.3",)}
    with as_role("worker"):
        rotate(kek)
        kek.refresh_from_db()
        clock = lambda: timezone.now() + timedelta(minutes=5)  # noqa: E731 - after the votes
        job = open_job(kek=kek, source=source, actor=WORKER, reason="t", now=clock(), pace=Pace(batch_size=25))
        assert work(pk=job.pk, actor=WORKER, clock=clock, seconds=30).ended is Ended.OVER
    cells = far.execute("SELECT wrapped FROM data_keys WHERE kek_version = '2' ORDER BY id")
    assert opened(kek, "2", [bytes(cell) for (cell,) in cells]) == list(deks.values())
    assert len(line.said) > 8
    for said in line.said:  # all of it went through TLS
        assert not [one for one in (far.login.encode(), b"data_keys", bytes(cells[0][0])) if one in said]
        assert sum(length for kind, length in records(said) if kind == "data") > 100


REFUSED = {
    "another CA": ({}, "is not of the CA in the file, or it is not valid now"),
    "another name": ({"names": ["db.example", "127.0.0.1"]}, "for another name than that of the host"),
    "expired": ({"is_expired": True}, "or it is not valid now"),
    "no TLS": ({"has_tls": False}, "it speaks no TLS"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_whoever_is_not_the_registered_server_learns_nothing(server, far, line, kek, tmp_path, as_role, case):
    how, because = REFUSED[case]
    server.change(**how)
    changes = {"ca_file": pem(tmp_path / "wrong.pem", trustme.CA())} if case == "another CA" else {}
    said = said_of(far, server, line, tmp_path, **changes)
    before = server.said().count("connection authenticated")
    request = registered(far, kek, voters(), **said)
    assert request.state == RequestState.FAILED
    assert because in request.closed_because
    assert not RewrapSource.objects.exists()
    seal()
    (event,) = [
        one.said for one in read(Event.objects.filter(action__startswith="request.")) if one.said.outcome == "failed"
    ]
    assert because in str(event)
    nothing_was_told(far, line)
    if case == "no TLS":
        assert set(line.said) == {SSL_REQUEST}  # one question, and no word after the answer
    assert server.said().count("connection authenticated") == before


def test_a_source_whose_certificate_expires_is_not_counted_and_lets_nothing_go(
    server, far, line, kek, tmp_path, as_role
):
    fill(far, kek, "1", [1, 2])
    registered(far, kek, voters(), **said_of(far, server, line, tmp_path))
    server.change(is_expired=True)
    with as_role("worker"):
        with pytest.raises(SourceError, match="not valid now"):
            count_now(kek, actor=WORKER, now=timezone.now() + timedelta(minutes=5))
        seal()
    (event,) = events_of("source.counted")
    assert (event.said.outcome, "not valid now" in event.said.reason) == ("failed", True)


@pytest.mark.parametrize("asks", ["password", "md5", "trust", "reject", ""])
def test_a_password_is_given_away_by_scram_alone(server, far, line, kek, tmp_path, asks):
    """Also to a server whose certificate is right: what asks otherwise is not what was set up."""
    server.change(asks=asks)
    source = source_of(far, kek, **said_of(far, server, line, tmp_path))
    refused = "pg_hba.conf" if asks in {"reject", ""} else "SCRAM-SHA-256"
    if asks == "md5":  # of a password that is kept for SCRAM, the server asks by SCRAM
        look(source)
        return
    with pytest.raises(UnreachableError, match=refused):
        look(source)


def test_a_name_that_begins_like_tls_is_told_as_what_it_is(far, kek, settings):
    """What a message repeats of the names that were asked for says nothing of what went wrong."""
    source = source_of(far, kek, ca_file="", host="127.0.0.1", database="tls_certificates")
    settings.SOURCE_HOSTS = ["127.0.0.1"]
    with pytest.raises(UnreachableError, match="no database of that name"):
        look(source)


def test_a_second_address_of_a_name_is_tried_when_the_first_does_not_answer(
    server, far, line, kek, tmp_path, monkeypatch
):
    """As where a name has an IPv6 address that nobody listens on."""
    real, found = socket.getaddrinfo, [(2, 1, 6, "", (address, line.port)) for address in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: found if host == "localhost" else real(host, *a, **k)
    )
    look(source_of(far, kek, **said_of(far, server, line, tmp_path)))
