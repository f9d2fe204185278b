"""What every answer carries, whatever it answers; and the cookies of an installation behind TLS."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client, RequestFactory

from keyvault_admin.access.models import User
from keyvault_admin.middleware import BARE_POLICY, client_address
from tests.people import sign_in

ROOT = Path(__file__).resolve().parent.parent.parent
CSP = {
    "default-src": {"'none'"},
    "script-src": {"'self'"},
    "style-src": {"'self'"},
    "img-src": {"'self'", "data:"},
    "font-src": {"'self'"},
    "connect-src": {"'self'"},
    "form-action": {"'self'"},
    "frame-ancestors": {"'none'"},
    "base-uri": {"'none'"},
}


def assert_strict(answer: HttpResponse) -> None:
    policy = {part.split()[0]: set(part.split()[1:]) for part in answer["Content-Security-Policy"].split(";")}
    assert policy == CSP
    assert_guarded(answer)


def assert_guarded(answer: HttpResponse) -> None:
    """All but the policy, which is a shorter one where no page of ours answers."""
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("get", "/login/", 200),
        ("get", "/enrol/", 200),
        ("get", "/-/live", 200),
        ("get", "/", 302),
        ("get", "/login", 302),
        ("get", "/enrol/nowhere/", 302),
        ("get", "/logout/", 302),
        ("put", "/enrol/", 200),
        ("delete", "/login/", 405),
    ],
)
def test_every_answer_to_nobody_carries_the_headers(
    client: Client, db: None, method: str, address: str, status: int
) -> None:
    answer = getattr(client, method)(address)
    assert answer.status_code == status
    assert_strict(answer)


@pytest.mark.parametrize(
    ("address", "status"), [("/", 200), ("/nowhere/", 404), ("/auth/group/", 404), ("/logout/", 405)]
)
def test_every_answer_to_a_person_carries_the_headers(client: Client, alice: User, address: str, status: int) -> None:
    sign_in(client, alice)
    answer = client.get(address)
    assert answer.status_code == status
    assert_strict(answer)


def test_an_answer_to_a_strange_host_carries_the_headers(client: Client, db: None) -> None:
    answer = client.get("/login/", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert_strict(answer)


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        ("/login/", "testserver", 301),
        ("/static/keyvault/keyvault.css", "testserver", 301),
        ("/login/", "evil.example", 400),
        ("/static/keyvault/keyvault.css", "evil.example", 400),
    ],
)
def test_an_answer_in_clear_behind_tls_carries_the_headers(
    db: None, settings, address: str, host: str, status: int
) -> None:
    """Nothing behind SecurityMiddleware sees such a request: it leads to https, or refuses the host, by itself."""
    settings.SECURE_SSL_REDIRECT = True
    answer = Client().get(address, headers={"host": host})
    assert answer.status_code == status
    assert answer["Content-Security-Policy"] == BARE_POLICY
    assert_guarded(answer)


def test_a_static_file_carries_the_headers_but_may_be_kept(client: Client, db: None) -> None:
    for name in ("keyvault.css", "keyvault.js", "favicon.svg"):
        answer = client.get(f"/static/keyvault/{name}")
        assert answer.status_code == 200
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["Referrer-Policy"] == "same-origin"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in answer["Permissions-Policy"]
        assert answer["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'")
        assert answer["Cache-Control"] != "no-store"
        answer.close()
    assert_strict(client.get("/static/keyvault/nowhere.css"))


def test_the_page_of_a_fault_carries_the_headers_and_nothing_of_the_fault(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(raise_request_exception=False)
    sign_in(client, alice)

    def fails(*_arguments: object) -> None:
        raise RuntimeError("postgres://keyvault_web:password@host")

    monkeypatch.setattr("keyvault_admin.admin_site.posture_context", fails)  # a fault of ours, which has no page
    answer = client.get("/")
    assert answer.status_code == 500
    assert_strict(answer)
    assert "RuntimeError" not in answer.content.decode()
    assert "password@" not in answer.content.decode()


def test_transport_is_kept_to_tls_behind_tls(client: Client, db: None, settings) -> None:
    settings.SECURE_HSTS_SECONDS = 31_536_000
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = settings.SECURE_HSTS_PRELOAD = True
    for address in ("/login/", "/static/keyvault/keyvault.css", "/-/live"):
        answer = client.get(address, secure=True)
        assert answer["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
        answer.close()


def test_a_form_without_its_token_is_refused(db: None) -> None:
    strict = Client(enforce_csrf_checks=True)
    for address in ("/login/", "/enrol/"):
        answer = strict.post(address, {"token": "x"})
        assert answer.status_code == 403
        assert_strict(answer)


def test_pages_have_nothing_inline(client: Client, alice: User) -> None:
    pages = [client.get("/login/"), client.get("/enrol/")]
    sign_in(client, alice)
    pages += [
        client.get("/access/user/"),
        client.get("/password_change/"),
        client.get(f"/access/user/{alice.pk}/change/"),
    ]
    for page in pages:
        html = page.content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>\s*\S", html)
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)


def test_cookies_are_out_of_reach_of_scripts(client: Client, alice: User) -> None:
    client.get("/login/")
    sign_in(client, alice)
    for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        assert client.cookies[name]["httponly"]
        assert client.cookies[name]["samesite"] == "Lax"


# The right address


@pytest.mark.parametrize(
    ("trusted", "forwarded", "address"),
    [
        (0, "198.51.100.1", "192.0.2.9"),  # nobody is trusted
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "203.0.113.66, 198.51.100.1", "198.51.100.1"),  # the first was written by the client
        (2, "203.0.113.66, 198.51.100.1, 192.0.2.8", "198.51.100.1"),
        (2, "198.51.100.1", "192.0.2.9"),  # did not come through both proxies
        (1, "<script>", "192.0.2.9"),
        (1, "", "192.0.2.9"),
        (1, "2001:DB8::1", "2001:db8::1"),
    ],
)
def test_client_address_believes_our_own_proxies_only(
    monkeypatch: pytest.MonkeyPatch, trusted: int, forwarded: str, address: str
) -> None:
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", trusted)
    request = RequestFactory().get("/", headers={"x-forwarded-for": forwarded}, REMOTE_ADDR="192.0.2.9")
    assert client_address(request) == address


def test_client_address_of_a_socket_is_empty() -> None:
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="")) == ""


# An installation behind TLS

PRODUCTION = {
    "SECRET_KEY": "kq3-vW8zR1_mX6yT0bN9cL5hJ4gF7dS2aP-oI8uY6tR4eW2qZ1xC3vB5",
    "DATABASE_URL": "postgres://keyvault_web:a-password-of-nobody@127.0.0.1:1/keyvault",
    "CELERY_BROKER_URL": "redis://:a-password-of-nobody@127.0.0.1:1/0",
    "KEYVAULT_SEALING_KEY": base64.b64encode(hashlib.sha256(b"sealing").digest()).decode(),
    "KEYVAULT_DIGEST_KEY": base64.b64encode(hashlib.sha256(b"digest").digest()).decode(),
    "ALLOWED_HOSTS": "keys.example.org",
    "SITE_URL": "https://keys.example.org",
    "TRUSTED_PROXIES": "1",
    "DEFAULT_FROM_EMAIL": "keyvault@keys.example.org",
    "KEYVAULT_PLAIN_HTTP": "true",  # counts for the embedded engines only
}


def production(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("KEYVAULT_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**environment, **PRODUCTION, **more, "DJANGO_SETTINGS_MODULE": "keyvault_admin.settings"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_cookies_and_transport_behind_tls() -> None:
    names = [
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE",
        "SESSION_COOKIE_NAME",
        "CSRF_COOKIE_NAME",
        "SECURE_SSL_REDIRECT",
        "SECURE_HSTS_SECONDS",
        "DEBUG",
    ]
    script = f"import json; from django.conf import settings as s; print(json.dumps([getattr(s, n) for n in {names}]))"
    found = json.loads(production("-c", script).stdout)
    assert found == [True, True, "__Host-sessionid", "__Host-csrftoken", True, 31536000, False]


def test_check_deploy_is_clean_behind_tls() -> None:
    done = production("manage.py", "check", "--deploy", "--fail-level=INFO")
    assert (done.returncode, done.stdout) == (0, "System check identified no issues (0 silenced).\n"), done.stderr


def test_check_deploy_is_clean_on_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level=INFO"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_check_deploy_refuses_links_in_clear() -> None:
    done = production("manage.py", "check", "--deploy", SITE_URL="http://keys.example.org")
    assert done.returncode == 1
    assert "face.E002" in done.stderr
