"""KMS-01 … 10 for transit: whatever stands where OpenBao should, no call hangs, none is made too often, nothing leaks.

The stand-in passes requests on to the real server and bends its answers, or gives none. Times are shortened through the
manners; the true ten seconds are kept in `make test-full` (tests.full).
"""

import http.client
import json
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inventory.kms.base import Backend, StoreAddress, ToOpen, ToWrap, WrapAlgorithm
from inventory.kms.calls import Breaker, Caller, Clock, Manners
from inventory.kms.errors import (
    AddressError,
    BackendError,
    DeniedError,
    NoSuchKeyError,
    NotUsableError,
    Refused,
    UnavailableError,
    WrongAnswerError,
)
from inventory.kms.openbao import OpenBaoBackend
from tests.bao import Bao, bao, missing
from tests.inventory.kms import standin
from tests.inventory.kms.conftest import deks
from tests.inventory.kms.standin import Behaviour, Reply, Request, StandIn, bends, says

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

QUICK = Manners(
    connect=0.5, attempt=0.5, call=5.0, first_wait=0.001, longest_wait=0.15, failures=50, most_bytes=1 << 20
)
CONTEXT = b"c" * 32
TOKEN = "s.a-token-that-nobody-may-see-anywhere"


@dataclass
class Ticking:
    """A clock that waits at once, and remembers how long it was asked to."""

    now: float = 1000.0
    wall: float = 0.0

    def __post_init__(self) -> None:
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, wall=time.time, sleep=self.sleep)


def passed_on(server: Bao) -> standin.Good:
    """Return what passes a request on to the real server, with a token that it knows."""
    tls = ssl.create_default_context(cafile=str(server.place / "ca.pem"))
    token = server.new_token()

    def ask(request: Request) -> Reply:
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=tls)
        connection.request(request.method, request.path, request.body or None, {"X-Vault-Token": token})
        answer = connection.getresponse()
        reply = Reply(answer.status, answer.read())
        connection.close()
        return reply

    return ask


@dataclass(frozen=True)
class Bench:
    """The stand-in, a KEK behind it, and ways to speak to it."""

    stand_in: StandIn
    folder: Path
    key: str
    blobs: list[bytes]
    deks: list[bytearray]
    clients: list[Backend] = field(default_factory=list)

    def address(self, *, port: int = 0, **options: str) -> StoreAddress:
        (self.folder / "token").write_text(TOKEN)
        return StoreAddress(
            scheme="openbao", name="bent", host=standin.HOST, port=port or self.stand_in.port, path="/transit",
            options={"token_file": str(self.folder / "token"), "tls": "off", **options},
        )  # fmt: skip

    def open(
        self, manners: Manners = QUICK, clock: Clock | None = None, *, port: int = 0, **options: str
    ) -> OpenBaoBackend:
        clock = clock or Clock()
        caller = Caller(breaker=Breaker("bent", manners=manners, clock=clock), manners=manners, clock=clock)
        self.clients.append(client := OpenBaoBackend(self.address(port=port, **options), caller=caller))
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def opened(self, backend: Backend) -> list[bytearray | Refused]:
        return backend.unwrap(self.key, "1", [ToOpen(ciphertext=blob, context=CONTEXT) for blob in self.blobs])

    def rewrapped(self, backend: Backend) -> list[bytes | Refused]:
        return backend.rewrap(self.key, "1", "2", [ToOpen(ciphertext=blob, context=CONTEXT) for blob in self.blobs])

    def wrapped(self, backend: Backend) -> list[bytes | Refused]:
        return backend.wrap(self.key, "2", [ToWrap(dek=dek, context=CONTEXT) for dek in self.deks])


@pytest.fixture(scope="module")
def behind() -> tuple[standin.Good, str, list[bytes], list[bytearray]]:
    server = bao()
    backend = OpenBaoBackend(server.store())
    backend.create("bent", WrapAlgorithm.AES_256_GCM96)
    drawn = deks(3)
    blobs = backend.wrap("bent", "1", [ToWrap(dek=dek, context=CONTEXT) for dek in drawn])
    backend.rotate("bent")
    backend.close()
    return passed_on(server), "bent", blobs, drawn


@pytest.fixture
def bench(behind: tuple[standin.Good, str, list[bytes], list[bytearray]], tmp_path: Path) -> Iterator[Bench]:
    good, key, blobs, drawn = behind
    with StandIn(good) as stand_in:
        made = Bench(stand_in, tmp_path, key, blobs, drawn)
        yield made
        made.close()


def told(error: BaseException) -> str:
    """Return everything that a log would show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error)


def fails(call: Callable[[], object], kind: type[BackendError], *, within: float = 3.0) -> BackendError:
    """Return the error of a call, which must be of exactly that kind, come in time and hold no token."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    assert time.monotonic() - began < within
    assert type(caught.value) is kind, told(caught.value)
    assert TOKEN not in told(caught.value)
    return caught.value


def test_the_stand_in_stands_in(bench: Bench) -> None:
    backend = bench.open()
    assert backend.describe(bench.key).newest == "2"
    assert bench.opened(backend) == bench.deks
    moved = bench.rewrapped(backend)
    assert all(blob.startswith(b"vault:v2:") for blob in (*moved, *bench.wrapped(backend)))
    assert bench.stand_in.connections == 1
    backend.close()


# KMS-01: what may be asked again is, three times at most; then it is the store's fault

AGAIN: dict[str, Behaviour] = {
    "silence": standin.silence,
    "hangs up": standin.hangs_up,
    "500": says(500, b'{"errors":["internal error"]}'),
    "502 without JSON": says(502, b"<html>Bad gateway</html>"),
    "503 sealed": says(503, b'{"errors":["Vault is sealed"]}'),
    "473 standby": says(473),
    "429 for a moment": standin.busy(0),
    "429 until a date in the past": standin.busy_until(-60),
    "429 and nonsense": says(429, b"{}", Retry_After="soon"),
    "drips the body": standin.drips(0.05),
    "drips the head": standin.drips(0.05, from_head=True),
    "never comes to the answer": standin.endless_head,
    "cut off": standin.cut_off,
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_may_come_back_is_asked_again_three_times(bench: Bench, name: str) -> None:
    manners = Manners(**{**vars(QUICK), "attempt": 0.12})
    backend, ticking = bench.open(manners), Ticking()
    bench.stand_in.answers(AGAIN[name])
    fails(lambda: bench.opened(backend), UnavailableError)
    assert len(bench.stand_in.requests) == 4
    assert ticking.waits == []
    bench.stand_in.answers(standin.well)
    assert bench.opened(backend) == bench.deks


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_not_idempotent_is_asked_once(bench: Bench, name: str) -> None:
    manners = Manners(**{**vars(QUICK), "attempt": 0.12})
    backend = bench.open(manners)
    bench.stand_in.answers(standin.well, AGAIN[name])
    fails(lambda: backend.rotate(bench.key), UnavailableError)
    assert [request.method for request in bench.stand_in.requests] == ["GET", "POST"]


@pytest.mark.skipif("tests.full" not in sys.modules, reason="takes twenty seconds")
@pytest.mark.parametrize("from_head", [True, False])
def test_a_byte_a_second_is_read_for_ten_seconds(bench: Bench, *, from_head: bool) -> None:
    backend = bench.open(Manners())
    bench.stand_in.answers(standin.well, standin.drips(1, from_head=from_head))
    began = time.monotonic()
    fails(lambda: backend.rotate(bench.key), UnavailableError, within=10.5)
    assert time.monotonic() - began > 9


def test_a_call_that_fails_once_succeeds(bench: Bench) -> None:
    backend = bench.open()
    bench.stand_in.answers(standin.hangs_up, says(503), standin.busy(0), standin.well)
    assert bench.opened(backend) == bench.deks
    assert len(bench.stand_in.requests) == 4


def test_nobody_at_the_port_is_asked_again_three_times(bench: Bench) -> None:
    ticking = Ticking()
    backend = bench.open(clock=ticking.clock())
    bench.stand_in.__exit__()
    fails(lambda: bench.opened(backend), UnavailableError)
    assert len(ticking.waits) == 3
    assert all(0.0005 * 2**number <= wait <= 0.001 * 2**number for number, wait in enumerate(ticking.waits))


@pytest.mark.parametrize("seconds", [1, 3])
@pytest.mark.parametrize("busy", [standin.busy, standin.busy_until])
def test_a_retry_after_is_heeded(bench: Bench, busy: Callable[[float], Behaviour], seconds: int) -> None:
    ticking = Ticking()
    backend = bench.open(Manners(), clock=ticking.clock())
    bench.stand_in.answers(busy(seconds), standin.well)
    assert bench.opened(backend) == bench.deks
    (wait,) = ticking.waits
    assert seconds - 1.1 <= wait <= seconds


@pytest.mark.parametrize("busy", [standin.busy, standin.busy_until])
def test_a_long_retry_after_ends_the_call_and_keeps_everybody_away(
    bench: Bench, busy: Callable[[float], Behaviour]
) -> None:
    ticking = Ticking()
    backend = bench.open(Manners(), clock=ticking.clock())
    bench.stand_in.answers(busy(60), standin.well)
    error = fails(lambda: bench.opened(backend), UnavailableError)
    assert 58 <= error.retry_after.total_seconds() <= 60
    for _soon in range(5):
        assert 57 <= fails(lambda: bench.opened(backend), UnavailableError).retry_after.total_seconds() <= 60
    assert (len(bench.stand_in.requests), ticking.waits) == (1, [])
    ticking.now += 61
    assert bench.opened(backend) == bench.deks


def test_nobody_is_kept_away_for_a_year(bench: Bench) -> None:
    ticking = Ticking()
    backend = bench.open(Manners(), clock=ticking.clock())
    bench.stand_in.answers(standin.busy(31_536_000), standin.well)
    fails(lambda: bench.opened(backend), UnavailableError)
    ticking.now += 301
    assert bench.opened(backend) == bench.deks


def test_the_breaker_opens_after_five_failures_and_tries_every_ten_seconds(bench: Bench) -> None:
    ticking = Ticking()
    backend = bench.open(Manners(), clock=ticking.clock())
    bench.stand_in.answers(says(500))
    for _call in range(3):
        fails(lambda: bench.opened(backend), UnavailableError)
    assert len(bench.stand_in.requests) == 5  # four of the first call, one of the second
    for probes in range(1, 4):
        ticking.now += 10.1
        for _call in range(3):
            fails(lambda: bench.opened(backend), UnavailableError)
        assert len(bench.stand_in.requests) == 5 + probes
    bench.stand_in.answers(standin.well)
    ticking.now += 10.1
    assert bench.opened(backend) == bench.opened(backend) == bench.deks


def test_refusals_do_not_open_the_breaker(bench: Bench) -> None:
    backend = bench.open(Manners(**{**vars(QUICK), "failures": 2}))
    bench.stand_in.answers(says(403, b'{"errors":["permission denied"]}'))
    for _call in range(5):
        fails(lambda: bench.opened(backend), DeniedError)
    bench.stand_in.answers(standin.well)
    assert bench.opened(backend) == bench.deks


# What is wrong is asked once, believed never

WRONG: dict[str, tuple[Behaviour, type[BackendError]]] = {
    "20 MB": (standin.too_long, WrongAnswerError),
    "20 MB in chunks": (standin.too_long_in_chunks, WrongAnswerError),
    "truncated": (standin.truncated, WrongAnswerError),
    "no HTTP": (standin.no_http, WrongAnswerError),
    "compressed": (standin.compressed, WrongAnswerError),
    "echo": (standin.echo, BackendError),
    "echo in place of HTTP": (standin.echo_no_http, WrongAnswerError),
    "204": (says(204), WrongAnswerError),
    "301": (standin.elsewhere("https://127.0.0.1:1/", 301), WrongAnswerError),
    "307": (standin.elsewhere("https://127.0.0.1:1/", 307), WrongAnswerError),
    "418": (says(418), WrongAnswerError),
    "403": (says(403, b'{"errors":["permission denied"]}'), DeniedError),
    "404": (says(404, b'{"errors":[]}'), NoSuchKeyError),
    "400 in other words": (says(400, b'{"errors":["a text of another version"]}'), BackendError),
    "400, no such key": (says(400, b'{"errors":["encryption key not found"]}'), NoSuchKeyError),
    **{f"200, {name}": (says(200, body), WrongAnswerError) for name, body in standin.NO_ANSWERS.items()},
    **{f"400, {name}": (says(400, body), WrongAnswerError) for name, body in standin.NO_ANSWERS.items()},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_refused_and_not_asked_again(bench: Bench, name: str) -> None:
    behaviour, kind = WRONG[name]
    backend = bench.open()
    bench.stand_in.answers(behaviour)
    fails(lambda: bench.opened(backend), kind)
    assert len(bench.stand_in.requests) == 1
    bench.stand_in.answers(standin.well)
    assert bench.opened(backend) == bench.deks


def test_a_redirect_leads_nowhere(bench: Bench) -> None:
    with StandIn(standin.says) as other:
        backend = bench.open()
        bench.stand_in.answers(standin.elsewhere(f"http://127.0.0.1:{other.port}/v1/transit/decrypt/bent"))
        assert "which is not followed" in str(fails(lambda: bench.opened(backend), WrongAnswerError))
        assert other.connections == 0


def test_what_is_not_idempotent_goes_over_a_fresh_connection(bench: Bench) -> None:
    backend = bench.open()
    bench.opened(backend)
    bench.rewrapped(backend)
    assert bench.stand_in.connections == 1
    bench.stand_in.answers(standin.well, says(503))
    fails(lambda: backend.rotate(bench.key), UnavailableError)
    assert bench.stand_in.connections == 2


def test_no_cookie_comes_back_and_no_proxy_is_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    backend = bench.open()
    bench.stand_in.answers(standin.with_cookie)
    assert bench.opened(backend) == bench.opened(backend) == bench.deks
    for request in bench.stand_in.requests:
        assert "cookie" not in {name.lower() for name in request.headers}
        assert request.headers["Accept-Encoding"] == "identity"


# Items: who looks at the status alone would store nothing in place of a DEK


def bent_results(change: Callable[[list[dict[str, Any]]], object]) -> Behaviour:
    """Change the results of a batch, and leave other answers as they are."""

    def bend(answer: dict[str, Any]) -> None:
        if "batch_results" in answer.get("data", {}):
            change(answer["data"]["batch_results"])

    return bends(bend)


def replaced(name: str, value: object) -> Behaviour:
    """Put VALUE in place of what the second item has by that name."""
    return bent_results(lambda results: results[1].__setitem__(name, value))


MISFITS: dict[str, Behaviour] = {
    "fewer": bent_results(lambda results: results.pop()),
    "none": bent_results(lambda results: results.clear()),
    "more": bent_results(lambda results: results.append(dict(results[0]))),
    "another order": bent_results(lambda results: results.reverse()),
    "one twice": bent_results(lambda results: results.__setitem__(1, results[0])),
    "no places": bent_results(lambda results: [result.pop("reference") for result in results]),
    "places as numbers": bent_results(
        lambda results: [result.update(reference=int(result["reference"])) for result in results]
    ),
    "an item is null": bent_results(lambda results: results.__setitem__(1, None)),
    "an item is a list": bent_results(lambda results: results.__setitem__(1, [])),
    "results are an object": bends(lambda answer: answer["data"].update(batch_results={})),
    "no results": bends(lambda answer: answer["data"].clear()),
    "no data": bends(lambda answer: answer.pop("data") and None),
    "an error of another type": replaced("error", {"text": "x"}),
}
CIPHERTEXTS: dict[str, object] = {
    "null": None,
    "a number": 17,
    "a list": [],
    "empty": "",
    "no prefix": "A" * 80,
    "wrong base64": "vault:v2:" + "!" * 80,
    "base64 that is not canonical": "vault:v2:" + "A" * 78 + "B=",
    "cut": "vault:v2:" + "A" * 40,
    "version 0": "vault:v0:" + "A" * 80,
    "version 02": "vault:v02:" + "A" * 80,
    "an older version": "vault:v1:" + "A" * 80,
    "a newer version": "vault:v3:" + "A" * 80,
    "a version of 5,000 digits": "vault:v" + "9" * 5000 + ":" + "A" * 80,
    "other letters": "vault:v２:" + "A" * 80,  # noqa: RUF001 - a digit that is not ASCII
}
PLAINTEXTS: dict[str, object] = {
    "null": None,
    "a number": 17,
    "empty": "",
    "wrong base64": "!" * 44,
    "shorter": "AAAA",
    "longer": "A" * 64,
    "base64url": "-_-_" * 10 + "-_8=",
}


@pytest.mark.parametrize("name", MISFITS)
def test_results_that_do_not_fit_the_items_are_refused(bench: Bench, name: str) -> None:
    backend = bench.open()
    bench.wrapped(backend)
    for call in (bench.opened, bench.rewrapped, bench.wrapped):
        bench.stand_in.answers(*([standin.well] if call == bench.wrapped else []), MISFITS[name])
        fails(lambda call=call: call(backend), WrongAnswerError)


@pytest.mark.parametrize("name", CIPHERTEXTS)
def test_ciphertexts_that_are_none_of_that_version_are_refused(bench: Bench, name: str) -> None:
    backend = bench.open()
    bench.stand_in.answers(replaced("ciphertext", CIPHERTEXTS[name]))
    for call in (bench.rewrapped, bench.wrapped):
        fails(lambda call=call: call(backend), WrongAnswerError)


@pytest.mark.parametrize("named", [1, 3, "2", None, 2.5])
def test_an_answer_that_names_another_version_is_refused(bench: Bench, named: object) -> None:
    backend = bench.open()
    bench.stand_in.answers(replaced("key_version", named))
    for call in (bench.rewrapped, bench.wrapped):
        fails(lambda call=call: call(backend), WrongAnswerError)


@pytest.mark.parametrize("name", PLAINTEXTS)
def test_plaintexts_of_another_length_are_refused(bench: Bench, name: str) -> None:
    backend = bench.open()
    bench.stand_in.answers(replaced("plaintext", PLAINTEXTS[name]))
    fails(lambda: bench.opened(backend), WrongAnswerError)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cipher: message authentication failed", "altered"),
        ("invalid ciphertext: unable to decrypt", "altered"),
        ("ciphertext or signature version is disallowed by policy (too old)", "not_usable"),
        ("invalid ciphertext: version is too new", "gone"),
        ("something else", "refused"),
    ],
)
def test_an_error_of_an_item_within_a_200_refuses_that_item_alone(bench: Bench, text: str, reason: str) -> None:
    """KMS-04: also where it brings a ciphertext along."""
    backend = bench.open()
    bench.stand_in.answers(replaced("error", text))
    for call in (bench.opened, bench.rewrapped, bench.wrapped):
        done = call(backend)
        assert done[1] == Refused(reason)
        assert not isinstance(done[0], Refused)
        assert not isinstance(done[2], Refused)


# Keys


def test_a_key_of_another_kind_is_not_used(bench: Bench) -> None:
    backend = bench.open()
    for facts in ({"derived": False}, {"derived": None}, {"type": "rsa-2048"}, {"convergent_encryption": True}):
        bench.stand_in.answers(bends(lambda answer, facts=facts: answer["data"].update(facts)))
        fails(lambda: backend.describe(bench.key), NotUsableError)
        fails(lambda: bench.wrapped(backend), NotUsableError)
        assert {request.method for request in bench.stand_in.requests} == {"GET"}


@pytest.mark.parametrize("facts", [{"exportable": True}, {"allow_plaintext_backup": True}, {"exportable": "no"}])
def test_nothing_more_is_wrapped_under_a_key_that_can_be_taken_out(bench: Bench, facts: dict[str, object]) -> None:
    """R78. What it has wrapped opens still, or nobody could leave it."""
    backend = bench.open()
    bench.stand_in.answers(bends(lambda answer: answer["data"].update(facts)))
    assert backend.describe(bench.key).is_exportable
    fails(lambda: bench.wrapped(backend), NotUsableError)
    fails(lambda: bench.rewrapped(backend), NotUsableError)
    assert {request.method for request in bench.stand_in.requests} == {"GET"}
    bench.stand_in.answers(standin.well)
    assert bench.opened(backend) == bench.deks


@pytest.mark.parametrize(
    "name", ["latest_version", "min_decryption_version", "min_encryption_version", "min_available_version"]
)
@pytest.mark.parametrize("value", [None, "2", True, -1, 1.5, 10**9, 10**40, [2], 7])
def test_versions_of_other_types_are_refused(bench: Bench, name: str, value: object) -> None:
    if name == "min_encryption_version" and value == 7:
        pytest.skip("no version may wrap: that is said when it is tried")
    backend = bench.open()
    bench.stand_in.answers(bends(lambda answer: answer["data"].update({name: value})))
    fails(lambda: backend.describe(bench.key), WrongAnswerError)


@pytest.mark.parametrize(
    "keys",
    [None, [], {}, {"1": 1}, {"2": "yesterday"}, {"2": -1}, {"2": 2**60}, {"2": True}, {"two": 1}, {"2": 1, "3": 1}],
)
def test_lists_of_versions_that_make_no_sense_are_refused(bench: Bench, keys: object) -> None:
    backend = bench.open()
    bench.stand_in.answers(bends(lambda answer: answer["data"].update(keys=keys)))
    fails(lambda: backend.describe(bench.key), WrongAnswerError)


def test_a_version_that_the_store_does_not_show_is_not_wrapped_under(bench: Bench) -> None:
    """KMS-08: a store that was set back has forgotten the version that we know."""
    backend = bench.open()
    bench.stand_in.answers(
        bends(lambda answer: answer["data"].update(latest_version=1, keys={"1": answer["data"]["keys"]["1"]}))
    )
    assert backend.describe(bench.key).newest == "1"
    fails(lambda: bench.wrapped(backend), NoSuchKeyError)
    fails(lambda: bench.rewrapped(backend), NoSuchKeyError)
    assert {request.method for request in bench.stand_in.requests} == {"GET"}


# Requests that are too large for the server


def refuses_more_than(strings: int) -> Behaviour:
    """Count names and values, as the server does."""

    def counted(facts: object) -> int:
        if isinstance(facts, dict):
            return len(facts) + sum(map(counted, facts.values()))
        return sum(map(counted, facts)) if isinstance(facts, list) else isinstance(facts, str)

    def answer(exchange: standin.Exchange) -> None:
        if exchange.request.body and counted(json.loads(exchange.request.body)) > strings:
            said = "refused JSON input due to high complexity: exceeded maximum number of strings"
            exchange.send(Reply(400, json.dumps({"errors": [said]}).encode()))
        else:
            standin.well(exchange)

    return answer


def test_a_batch_is_halved_until_the_server_takes_it_and_the_limit_is_remembered(bench: Bench) -> None:
    backend = bench.open()
    drawn = deks(300)
    bench.stand_in.answers(refuses_more_than(300))
    blobs = backend.wrap(bench.key, "2", [ToWrap(dek=dek, context=CONTEXT) for dek in drawn])
    asked = len(bench.stand_in.requests)
    opened = backend.unwrap(bench.key, "2", [ToOpen(ciphertext=blob, context=CONTEXT) for blob in blobs])
    assert opened == drawn
    assert asked == 1 + 2 + -(-300 // 35)  # a look, 142 and 71 refused, then 35 at a time
    assert len(bench.stand_in.requests) == asked + -(-300 // 40)


def test_a_server_that_takes_not_even_one_is_given_up(bench: Bench) -> None:
    backend = bench.open()
    bench.stand_in.answers(says(413))
    fails(lambda: bench.opened(backend), WrongAnswerError)
    assert len(bench.stand_in.requests) < 10


# TLS


def test_a_certificate_must_be_for_the_host_and_of_the_authority(bench: Bench, tmp_path: Path) -> None:
    shown = standin.certificates(tmp_path)
    for tls, kind in (
        (shown.right, None),
        (shown.other_name, WrongAnswerError),
        (shown.other_authority, WrongAnswerError),
    ):
        with StandIn(bench.stand_in.good, tls=tls) as stand_in:
            encrypted = Bench(stand_in, tmp_path, bench.key, bench.blobs, bench.deks)
            backend = encrypted.open(tls="on", ca=str(shown.ca))
            if kind is None:
                assert encrypted.opened(backend) == bench.deks
            else:
                fails(lambda backend=backend, encrypted=encrypted: encrypted.opened(backend), kind)
                assert stand_in.requests == []
            backend.close()


def test_a_server_without_tls_is_not_spoken_to(bench: Bench, tmp_path: Path) -> None:
    shown = standin.certificates(tmp_path)
    backend = bench.open(tls="on", ca=str(shown.ca))
    fails(lambda: bench.opened(backend), UnavailableError)
    assert bench.stand_in.requests == []


def test_a_handshake_that_never_ends_is_left(bench: Bench, tmp_path: Path) -> None:
    shown = standin.certificates(tmp_path)
    manners = Manners(**{**vars(QUICK), "connect": 0.05})
    with socket.create_server((standin.HOST, 0)) as mute:
        backend = bench.open(manners, port=mute.getsockname()[1], tls="on", ca=str(shown.ca))
        fails(lambda: bench.opened(backend), UnavailableError, within=1.0)


# Addresses and tokens


@pytest.mark.parametrize(
    ("change", "says_so"),
    [
        ({"tls": "off", "host": "bao.internal"}, "needs TLS"),
        ({"tls": "off", "host": "127.0.0.1.example"}, "needs TLS"),
        ({"tls": "off", "host": "0x7f000001"}, "needs TLS"),
        ({"host": ""}, "needs a host"),
        ({"path": "/"}, "needs a host"),
        ({"path": "/a/../sys"}, "needs a host"),
        ({"path": "/transit?x=1"}, "needs a host"),
        ({"namespace": "a b"}, "needs a host"),
        ({"token_file": ""}, "token_file"),
        ({"token_file": "token"}, "token_file"),
        ({"token": "s.abc"}, "not known"),
        ({"verify": "off"}, "not known"),
    ],
)
def test_addresses_that_are_refused(change: dict[str, str], says_so: str) -> None:
    facts = {"host": "127.0.0.1", "path": "/transit", "token_file": "/run/token", **change}
    host, path = facts.pop("host"), facts.pop("path")
    with pytest.raises(AddressError, match=says_so):
        OpenBaoBackend(StoreAddress(scheme="openbao", name="x", host=host, path=path, options=facts))


@pytest.mark.parametrize("key", ["", "../sys/seal", "a/b", "a b", "a?b", "a\r\nb", ".", "..", "-a", "é"])
def test_names_that_are_no_keys_are_never_asked_for(bench: Bench, key: str) -> None:
    backend = bench.open()
    for call in (
        lambda: backend.describe(key),
        lambda: backend.rotate(key),
        lambda: backend.unwrap(key, "1", [ToOpen(ciphertext=bench.blobs[0], context=CONTEXT)]),
        lambda: backend.create(key, WrapAlgorithm.AES_256_GCM96),
    ):
        fails(call, AddressError)
    assert bench.stand_in.requests == []


def test_a_token_is_read_again_when_its_file_changes_and_once_when_it_is_denied(bench: Bench) -> None:
    denied, backend = says(403, b'{"errors":["permission denied"]}'), bench.open()
    bench.opened(backend)
    file = bench.folder / "token"
    file.write_text("s.the-next-token")
    bench.opened(backend)
    sent = [request.headers["X-Vault-Token"] for request in bench.stand_in.requests]
    assert sent == [TOKEN, "s.the-next-token"]

    def renewed_meanwhile(exchange: standin.Exchange) -> None:
        file.write_text("s.another-token!")
        denied(exchange)

    bench.stand_in.answers(renewed_meanwhile, standin.well)
    assert bench.opened(backend) == bench.deks
    bench.stand_in.answers(denied)
    fails(lambda: bench.opened(backend), DeniedError)
    assert len(bench.stand_in.requests) == 1


@pytest.mark.parametrize("text", ["", "\n", "two words", "a\nb", "x" * 5000, "é"])
def test_a_file_without_a_token_is_no_fault_of_the_store(bench: Bench, text: str) -> None:
    backend = bench.open()
    (bench.folder / "token").write_text(text)
    fails(lambda: bench.opened(backend), DeniedError)
    (bench.folder / "token").unlink()
    fails(lambda: bench.opened(backend), DeniedError)
    assert bench.stand_in.requests == []


def test_neither_the_store_nor_its_parts_show_the_token(bench: Bench) -> None:
    backend = bench.open()
    bench.opened(backend)
    shown = repr(backend) + repr(vars(backend)) + repr(vars(backend._client)) + repr(backend.address)
    assert TOKEN not in shown


def test_the_namespace_goes_along(bench: Bench) -> None:
    backend = bench.open(namespace="team/keys")
    bench.opened(backend)
    assert bench.stand_in.requests[0].headers["X-Vault-Namespace"] == "team/keys"
    assert bench.stand_in.requests[0].headers["X-Vault-Request"] == "true"


def test_a_name_that_leads_elsewhere_is_not_followed_without_tls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of hosts, or a resolver, could call somebody else localhost."""
    elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("203.0.113.7", bench.stand_in.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_asked, **_more: elsewhere)
    error = fails(lambda: bench.opened(bench.open()), AddressError)
    assert "needs TLS" in str(error)


def test_a_name_that_is_looked_up_for_ever_is_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_asked, **_more: gate.wait(20) and [])
    backend = bench.open(Manners(**{**vars(QUICK), "connect": 0.05}))
    fails(lambda: bench.opened(backend), UnavailableError, within=1.5)
    gate.set()
