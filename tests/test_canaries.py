"""The canaries themselves: each form is found, each secret goes through every door once, and nothing of it stays."""

import base64
import gc
import json
import re
import secrets
import smtplib
import socketserver
import threading
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.mail import send_mail
from django.test import Client
from django.utils import timezone

from audit.actor import Actor
from audit.sealing import Sealer, person_keys
from inventory.models import Key
from keyvault_admin.access import services
from keyvault_admin.access.models import TotpDevice, User
from keyvault_admin.access.services.tries import counter
from tests import canaries
from tests.conftest import PASSWORD, CommittedDatabase, RoleSwitch
from tests.inventory.certificates import private_key
from tests.inventory.world import make_key
from tests.people import give_device, next_code, sign_in

# Forms

DISGUISES = {
    "raw": lambda secret: secret,
    "hexadecimal": lambda secret: secret.hex().encode(),
    "hexadecimal, large": lambda secret: secret.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64 for URLs": base64.urlsafe_b64encode,
    "base64 of a text around it": lambda secret: base64.b64encode(b"key=" + secret + b";"),
    "base64 of another text around it": lambda secret: base64.b64encode(b"key: " + secret + b";"),
    "URL-encoded": lambda secret: quote(secret, safe="").encode(),
    "backwards": lambda secret: secret[::-1],
    "backwards in hexadecimal": lambda secret: secret[::-1].hex().encode(),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_every_form_of_a_secret_is_found(monkeypatch: pytest.MonkeyPatch, disguise: str) -> None:
    monkeypatch.setattr(canaries, "_fresh", canaries.OrderedDict())
    for _ in range(50):
        secret = secrets.token_bytes(32)
        canaries.know("it", secret)
        seen = b"before " + DISGUISES[disguise](secret) + b" after"
        assert any(hit.startswith("it (") for hit in canaries.hits("a sink", seen)), secret
    assert canaries.hits("a sink", secrets.token_bytes(10_000).hex().encode()) == []


def test_a_find_names_the_secret_and_never_shows_it() -> None:
    secret = secrets.token_urlsafe(32)
    canaries.know("thing", secret)
    found = canaries.hits("a log", f"token={secret}".encode())
    assert "thing (raw) in a log" in found
    assert not any(secret in line for line in found)


def test_the_secrets_of_the_run_are_known() -> None:
    kinds = " ".join(canaries._fixed)
    for what in ("SECRET_KEY", "SEALING_KEY", "DIGEST_KEY", "DATABASE_URL_WEB", "BROKER", "superuser", "pass phrase"):
        assert what in kinds


# Every secret through its door


def wrong_ways_in(client: Client, code: str) -> None:
    """Try to sign in with a password where the name belongs, with a wrong password, and with a wrong code."""
    typed = secrets.token_urlsafe(24)
    canaries.know("a password in the field of the name", typed)
    for form in (
        {"username": typed, "password": typed, "code": code},
        {"username": "alice", "password": typed, "code": code},
        {"username": "alice", "password": PASSWORD, "code": "999999x"},
    ):
        assert client.post("/login/", form).status_code == 200


def bring_secrets(client: Client) -> None:
    """Look up a token, and bring private keys in a note and in a file."""
    token = secrets.token_urlsafe(32)
    canaries.know("token that was looked up", token)
    client.post("/inventory/key/token/", {"token": token, "material": token, "reason": "found in a chat"})
    note = {"name": "x", "kind": "api_token", "notes": private_key().decode(), "reason": "y"}
    client.post("/inventory/key/add/", note)
    pem = SimpleUploadedFile("keys.pem", private_key())
    client.post("/inventory/key/import/", {"file": pem, "reason": "moving in"})


def link_for_somebody_new(as_role: RoleSwitch) -> str:
    actor, now = Actor.system("command:bootstrap_admin"), timezone.now()
    with as_role("command"):
        frances = services.register_person(
            username="frances", mail="frances@example.org", full_name="Frances", actor=actor, now=now
        )
        link = services.issue_enrolment_link(person=frances, actor=actor, now=now)
    canaries.know("enrolment token", link.rpartition("#")[2])
    return link


def test_no_secret_is_left_where_it_went_through(
    committed_db: CommittedDatabase, alice: User, as_role: RoleSwitch, caplog: pytest.LogCaptureFixture
) -> None:
    """Twelve kinds of secrets; the fixture of the database looks through every table once more at its end."""
    client, device = Client(), give_device(alice)
    assert Client().post("/enrol/", {"token": link_for_somebody_new(as_role)}).status_code == 302
    wrong_ways_in(client, next_code(device))
    TotpDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
    sign_in(client, alice)
    csrf = client.get("/inventory/key/add/").wsgi_request.META["CSRF_COOKIE"]
    canaries.know("CSRF token", csrf)
    key = make_key()
    bring_secrets(client)
    pages = [client.get(path) for path in ("/nowhere/", f"/inventory/key/{key.pk}/change/", "/access/user/")]
    assert [hit for page in pages for hit in canaries.hits("a page", page.content) if "CSRF" not in hit] == []
    assert Key.objects.count() == 1
    found = [hit for name, content in canaries.tables(committed_db.name) for hit in canaries.hits(name, content)]
    assert found == []
    assert canaries.hits("the log", caplog.text.encode()) == []


# One-time codes: whole values, in a journey of their own


def test_a_code_is_found_as_a_value_wherever_values_are(committed_db: CommittedDatabase, alice: User) -> None:
    """Planted in JSON, in a text, in a session and in bytes: each must be found, and no part of a longer number."""
    for planted in ({"a": [{"code": "271828"}]}, b'{"code":"271828"}', "code=271828&x", "typed 271828.", 271828):
        assert "271828" in [leaf.rstrip(".") for leaf in canaries.leaves(planted)], planted
    for other in ("2718281", "10:00:00.271828+00", "0x271828", {"n": 271828.5}):
        assert "271828" not in list(canaries.leaves(other)), other
    client = Client()
    sign_in(client, alice)
    session = client.session
    session["kept"] = {"code": "271828"}
    session.save()
    found = [column for column, leaf in canaries.values(committed_db.name) if leaf == "271828"]
    assert found == ["django_session.session_data"]


def forget_the_wait() -> None:
    TotpDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)


def test_no_code_that_is_typed_is_left_as_a_value(
    committed_db: CommittedDatabase, alice: User, as_role: RoleSwitch, caplog: pytest.LogCaptureFixture
) -> None:
    """Right and wrong ones, at sign-in, step-up, enrolment and a further app; then every value there is.

    Six digits stand by themselves in few places, and each meets one of ten codes by chance once in 100,000 runs.
    """
    client, device, typed = Client(), give_device(alice), []

    def code(of: TotpDevice, *, wrong: bool = False) -> str:
        right = next_code(of)
        typed.append(f"{(int(right) + 5) % 1_000_000:06d}" if wrong else right)
        return typed[-1]

    form = {"username": "alice", "password": PASSWORD}
    assert client.post("/login/", {**form, "code": code(device, wrong=True)}).status_code == 200
    assert client.post("/login/", {"username": code(device, wrong=True), "password": "x", "code": "y"})
    forget_the_wait()
    assert client.post("/login/", {**form, "code": code(device)}).status_code == 302
    assert client.post("/account/step-up/", {"code": code(device, wrong=True)}).status_code == 200
    forget_the_wait()
    assert client.post("/account/step-up/", {"code": code(device)}).status_code == 302
    client.post("/account/factors/app/new/")
    app = TotpDevice.objects.get(user=alice, confirmed=False)
    assert client.post("/account/factors/app/", {"name": "Second", "code": code(app)}).status_code == 302
    visitor = Client()
    visitor.post("/enrol/", {"token": link_for_somebody_new(as_role)})
    fresh = TotpDevice.objects.get(user__username="frances")
    good = "correct horse battery staple"
    for is_wrong in (True, False):
        forget_the_wait()
        asked = {"code": code(fresh, wrong=is_wrong), "password": good, "repeated": good}
        assert visitor.post("/enrol/factor/", asked).status_code == 200
    values = list(canaries.values(committed_db.name))
    assert len(values) > 1_000
    assert sum(re.fullmatch("[0-9]{6}", leaf) is not None for _, leaf in values) < 20
    assert [column for column, leaf in values if leaf.rstrip(".") in typed] == []
    elsewhere = canaries.leaves([caplog.text, *canaries.valkey()])
    assert not set(typed) & set(elsewhere)


def test_secrets_are_in_no_repr(alice: User) -> None:
    device = give_device(alice)
    secret = secrets.token_bytes(32)
    canaries.know("key", secret)
    things = [device, alice, Sealer(secret), counter("sign-in", name="alice", address="192.0.2.1")]
    things += [Actor.system("worker"), person_keys, sign_in]
    assert canaries.hits("repr", repr(things).encode()) == []
    assert canaries.hits("vars", json.dumps(alice.__dict__, default=str).encode()) == []


# LEAK-06: a mail server that breaks STARTTLS


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True  # a client that hangs must not hang the test


class _Broken(socketserver.StreamRequestHandler):
    """Offers STARTTLS and refuses it, or says nothing more once it is asked for."""

    def handle(self) -> None:
        self.wfile.write(b"220 mail.example ESMTP\r\n")
        while line := self.rfile.readline():
            self.server.heard.append(line)
            word = line.split()[0].upper() if line.split() else b""
            if word == b"EHLO":
                offer = b"250-STARTTLS\r\n" if self.server.how != "hidden" else b""
                self.wfile.write(b"250-mail.example\r\n" + offer + b"250 AUTH PLAIN LOGIN\r\n")
            elif word == b"STARTTLS":
                if self.server.how == "cut":
                    return
                self.wfile.write(b"454 TLS not available\r\n" if self.server.how == "refused" else b"220 go\r\n")
                if self.server.how == "no handshake":
                    self.connection.recv(1)  # the client has begun
                    self.wfile.write(b"550 this is no TLS\r\n")
                    return
            else:
                self.wfile.write(b"354 go on\r\n" if word == b"DATA" else b"250 ok\r\n")


# Django drops the connection that could not be made safe, and leaves its socket to the collector.
drops_sockets = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@drops_sockets
@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("how", ["refused", "cut", "no handshake", "hidden"])
def test_no_mail_leaves_in_clear_when_starttls_breaks(settings, how: str, silently: bool) -> None:  # noqa: FBT001
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with _Server(("127.0.0.1", 0), _Broken) as server:
        server.how, server.heard = how, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address
        settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL, settings.EMAIL_TIMEOUT = True, False, 5
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "keyvault", "mail-server-password"
        for _ in range(3):  # CVE-2026-7666: a second try on the same backend
            if silently:
                assert not send_mail("s", "the body", None, ["a@example.org"], fail_silently=True)
            else:
                with pytest.raises((smtplib.SMTPException, OSError)):
                    send_mail("s", "the body", None, ["a@example.org"])
        server.shutdown()
    gc.collect()
    heard = b"".join(server.heard).upper()
    assert b"EHLO" in heard
    assert not any(word in heard for word in (b"MAIL FROM", b"RCPT", b"DATA", b"THE BODY", b"AUTH"))


@drops_sockets
def test_one_backend_that_is_used_again_sends_nothing_in_clear(settings) -> None:
    """The connection that failed to become safe must not be taken for an open one by the next message."""
    from django.core.mail import EmailMessage, get_connection

    settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL, settings.EMAIL_TIMEOUT = True, False, 5
    with _Server(("127.0.0.1", 0), _Broken) as server:
        server.how, server.heard = "refused", []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address
        backend = get_connection("django.core.mail.backends.smtp.EmailBackend", host=host, port=port)
        for silently in (False, True, False, True):
            backend.fail_silently = silently
            try:
                assert not backend.send_messages([EmailMessage("s", "the body", None, ["a@example.org"])])
            except (smtplib.SMTPException, OSError):
                assert not silently
        backend.connection = None
        server.shutdown()
    gc.collect()
    heard = b"".join(server.heard).upper()
    assert not any(word in heard for word in (b"MAIL FROM", b"DATA", b"THE BODY"))
