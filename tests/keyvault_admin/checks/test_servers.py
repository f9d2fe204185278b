"""Broker and mail server: the run's own Valkey, and servers that are open, silent, hostile or absent."""

import socket
import time
from collections.abc import Callable

import pytest
from pytest_django import Settings

from keyvault_admin.checks import bounds, report, servers
from keyvault_admin.checks.bounds import words_of
from keyvault_admin.checks.rules import State
from keyvault_admin.checks.wires import SMTP
from tests.keyvault_admin.checks.conftest import Talk, say_nothing

Serve = Callable[[Talk], int]
PASSWORD = "a-pass/word of the tests+1"


def states() -> dict[str, State]:
    return {line.id: line.state for line in report.report(skip=["database", "mail"]) if line.group == "broker"}


def broker_says(words: bytes) -> Talk:
    """Answer every command with the same words."""

    def talk(caller: socket.socket) -> None:
        while caller.recv(4096):
            caller.sendall(words)

    return talk


def test_the_broker_of_the_run_answers_and_refuses_strangers() -> None:
    assert "answers" in servers.broker_answers().said
    answer = servers.broker_refuses_strangers()
    assert (answer.said, answer.mend) == ("The broker refuses whoever gives no password.", "")


def test_a_broker_that_takes_anybody_is_found(settings: Settings, serve: Serve) -> None:
    port = serve(broker_says(b"+PONG\r\n"))
    settings.CELERY_BROKER_URL = f"redis://:{'x' * 20}@127.0.0.1:{port}/0"
    answer = servers.broker_refuses_strangers()
    assert answer.said == "The broker answers without any password."
    assert "requirepass" in answer.mend


@pytest.mark.parametrize(
    "words", [b"-NOAUTH Authentication required.\r\n", b"-NOPERM no\r\n", b"-DENIED protected\r\n"]
)
def test_a_broker_that_refuses_in_other_words_is_closed(settings: Settings, serve: Serve, words: bytes) -> None:
    settings.CELERY_BROKER_URL = f"redis://:{'x' * 20}@127.0.0.1:{serve(broker_says(words))}/0"
    assert not servers.broker_refuses_strangers().mend


def test_an_absent_broker_is_asked_once(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = "redis://:a-secret-of-the-url@127.0.0.1:1/0"
    assert states()["face.E050"] is State.WRONG
    assert states()["face.E051"] is State.WRONG


def test_a_silent_broker_costs_seconds(settings: Settings, serve: Serve) -> None:
    settings.CELERY_BROKER_URL = f"redis://:x@127.0.0.1:{serve(say_nothing)}/0"
    began = time.monotonic()
    assert states()["face.E050"] is State.WRONG
    assert time.monotonic() - began < bounds.PATIENCE_SECONDS + 3


@pytest.mark.parametrize(
    "words",
    [b":abc\r\n", b"$-5\r\n", b"*1\r\n", b"%1\r\n*0\r\n*0\r\n", b"\x1b[2J" * 50 + b"\r\n", b"$99999999999999999\r\n"],
)
@pytest.mark.parametrize("url", ["redis", "rediss"])
def test_a_broker_that_talks_nonsense_is_wrong_and_nothing_breaks(
    settings: Settings, serve: Serve, words: bytes, url: str
) -> None:
    settings.CELERY_BROKER_URL = f"{url}://:x@127.0.0.1:{serve(broker_says(words))}/0"
    assert states()["face.E050"] is State.WRONG


def test_what_a_library_stumbles_over_is_an_answer_too() -> None:
    with pytest.raises(bounds.StrangeAnswerError, match="KeyError"):
        bounds.bounded(lambda: {}["no such command"])


def drip(caller: socket.socket) -> None:
    """A byte now and then, for as long as somebody waits: no time-out of a socket ends that."""
    while True:
        caller.sendall(b"2")
        time.sleep(0.5)


def test_a_mail_server_that_drips_costs_seconds(settings: Settings, serve: Serve) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = SMTP, "127.0.0.1", serve(drip)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 5 s"):
        servers.mail_server_answers()
    assert time.monotonic() - began < bounds.PATIENCE_SECONDS + 2


def smtp(offers: bytes, answer: bytes) -> Talk:
    """A mail server that offers these extensions and answers whatever comes then with ANSWER."""

    def talk(caller: socket.socket) -> None:
        caller.sendall(b"220 mail\r\n")
        while words := caller.recv(4096):
            caller.sendall(b"250-mail\r\n250 " + offers + b"\r\n" if words.startswith(b"ehlo") else answer)

    return talk


@pytest.mark.parametrize(
    ("offers", "answer", "is_tls", "said"),
    [
        (b"SIZE 1000", b"221 bye\r\n", False, "lets us in"),
        (b"SIZE 1000", b"500 no\r\n", True, "offers no STARTTLS"),
        (b"STARTTLS", b"454 not now\r\n", True, "answers 454"),
        (b"AUTH PLAIN", b"535 you said AGEtcGFzcw==\r\n", False, "refuses our name or password (535)"),
    ],
)
def test_mail_servers_are_told_apart(
    settings: Settings,
    serve: Serve,
    offers: bytes,
    answer: bytes,
    is_tls: bool,  # noqa: FBT001
    said: str,
) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = SMTP, "127.0.0.1", serve(smtp(offers, answer))
    settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = is_tls, False
    if b"AUTH" in offers:
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "user", PASSWORD
    found = servers.mail_server_answers()
    assert said in found.said
    assert bool(found.mend) is (said != "lets us in")
    assert "AGEtcGFzcw" not in found.said


def test_no_mail_server_is_no_fault(settings: Settings) -> None:
    assert not servers.mail_server_answers().mend


def test_words_of_a_server_hold_no_secret_and_no_escape(settings: Settings) -> None:
    settings.EMAIL_HOST_PASSWORD = PASSWORD
    settings.CELERY_BROKER_URL = "redis://:another%2Fsecret@127.0.0.1/0"
    evil = OSError(f"\x1b[2J\u202eyou are {PASSWORD}, a-pass%2Fword%20of%20the%20tests%2B1, another/secret" + "!" * 999)
    said = words_of(evil)
    assert "pass" not in said
    assert "another" not in said
    assert said.isprintable()
    assert len(said) < 250
