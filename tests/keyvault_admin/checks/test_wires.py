"""TLS and passwords towards database, broker and mail server, as the settings ask for them."""

from collections.abc import Mapping

import pytest
from django.conf import settings as configured
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from keyvault_admin.checks import wires

SMTP = wires.SMTP


def set_database(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    for name, text in changes.items():
        monkeypatch.setitem(configured.DATABASES["default"], name, text)


@pytest.mark.parametrize(
    ("host", "options", "said", "good"),
    [
        ("db.example.org", {"sslmode": "verify-full"}, "its certificate and name verified", True),
        ("127.0.0.1", {}, "on this machine (loopback)", True),
        ("/run/postgresql", {}, "on this machine (loopback)", True),
        ("db", {}, "KEYVAULT_INSIDE_HOSTS says", True),
        ("db.example.org", {}, "no sslmode", False),
        ("db.example.org", {"sslmode": "require"}, "sslmode=require", False),
        ("db.example.org", {"sslmode": "verify-ca"}, "sslmode=verify-ca", False),
        ("localhost,db.example.org", {}, "no sslmode", False),
        ("localhost", {"hostaddr": "10.0.0.9"}, "no sslmode", False),
    ],
)
def test_tls_to_the_database(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    options: Mapping[str, str],
    said: str,
    good: bool,  # noqa: FBT001
) -> None:
    settings.INSIDE_HOSTS = ["db"]
    set_database(monkeypatch, HOST=host, OPTIONS=dict(options))
    answer = wires.database_is_verified()
    assert said in answer.said
    assert bool(answer.mend) is not good


VERIFIED = "its certificate and name verified"


@pytest.mark.parametrize(
    ("url", "said", "good"),
    [
        ("rediss://:p@mq.example.org:6379/0?ssl_cert_reqs=required", VERIFIED, True),
        ("rediss://:p@mq.example.org/0?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem", VERIFIED, True),
        ("redis://:p@127.0.0.1:6379/0", "loopback", True),
        ("redis://:p@mq:6379/0", "KEYVAULT_INSIDE_HOSTS says", True),
        ("redis://:p@mq.example.org:6379/0", "without TLS", False),
        ("redis://:p@mq.example.org/0?ssl_cert_reqs=required", "without TLS", False),
        ("rediss://:p@mq.example.org/0", "not verified", False),  # Celery takes this for CERT_NONE
        ("rediss://:p@mq.example.org/0?ssl_cert_reqs=none", "not verified", False),
        ("rediss://:p@mq.example.org/0?ssl_cert_reqs=optional", "not verified", False),
        ("rediss://:p@mq.example.org/0?ssl_ca_certs=/ca.pem", "not verified", False),
        ("rediss://:p@mq.example.org/0?ssl_cert_reqs=required&ssl_check_hostname=false", "not verified", False),
        ("rediss://:p@mq.example.org/0?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=true", VERIFIED, True),
    ],
)
def test_tls_to_the_broker(settings: Settings, url: str, said: str, good: bool) -> None:  # noqa: FBT001
    settings.INSIDE_HOSTS, settings.CELERY_BROKER_URL = ["mq"], url
    answer = wires.broker_is_verified()
    assert said in answer.said
    assert bool(answer.mend) is not good


def test_a_broker_without_password_is_open_even_on_this_machine(settings: Settings) -> None:
    assert not wires.broker_has_password().mend
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:6379/0"
    assert "open" in wires.broker_has_password().said
    assert wires.broker_has_password().mend


def test_a_process_refuses_to_serve_with_an_open_broker_elsewhere(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:6379/0"
    wires.refuse_open_broker()
    settings.CELERY_BROKER_URL = "redis://:p@mq.example.org:6379/0"
    wires.refuse_open_broker()
    settings.CELERY_BROKER_URL = "redis://mq.example.org:6379/0"
    with pytest.raises(ImproperlyConfigured, match="no password"):
        wires.refuse_open_broker()


@pytest.mark.parametrize(
    ("changed", "said", "good"),
    [
        ({"EMAIL_USE_TLS": True}, VERIFIED[-8:], True),
        ({"EMAIL_USE_SSL": True}, VERIFIED[-8:], True),
        ({"EMAIL_HOST": "localhost"}, "loopback", True),
        ({}, "in clear", False),
        ({"EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend"}, "files of the embedded", True),
        (
            {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend", "IS_LOCAL": False},
            "sent to nobody",
            False,
        ),
    ],
)
def test_tls_to_the_mail_server(settings: Settings, changed: dict[str, object], said: str, good: bool) -> None:  # noqa: FBT001
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = SMTP, "mail.example.org"
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    for name, text in changed.items():
        setattr(settings, name, text)
    answer = wires.mail_is_sent_over_tls()
    assert said in answer.said
    assert bool(answer.mend) is not good


def test_short_passwords_are_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wires.passwords_are_long().mend
    set_database(monkeypatch, PASSWORD="hunter2")
    assert "of the database has fewer" in wires.passwords_are_long().said
    settings.CELERY_BROKER_URL = "redis://:keyvault@127.0.0.1/0"
    answer = wires.passwords_are_long()
    assert "of the database and of the broker has fewer" in answer.said
    assert "hunter2" not in answer.said + answer.mend


def test_a_sender_at_localhost_is_found_on_a_server(settings: Settings) -> None:
    settings.DEFAULT_FROM_EMAIL = "Keyvault Admin <keyvault@localhost>"
    assert not wires.sender_is_named().mend
    settings.IS_LOCAL = False
    assert wires.sender_is_named().mend
    settings.DEFAULT_FROM_EMAIL = "keyvault@example.org"
    assert not wires.sender_is_named().mend
