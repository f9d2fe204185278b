"""How browsers reach the site: each check with what is right, and with what is not."""

from collections.abc import Callable

import pytest
from pytest_django import Settings

from keyvault_admin.checks import site
from keyvault_admin.checks.rules import Answer

BEHIND_TLS = {
    "PLAIN_HTTP": False,
    "SITE_URL": "https://keys.example.org",
    "ALLOWED_HOSTS": ["keys.example.org"],
    "CSRF_TRUSTED_ORIGINS": ["https://keys.example.org"],
    "TRUSTED_PROXIES": 1,
    "SECURE_SSL_REDIRECT": True,
    "SECURE_HSTS_SECONDS": 31_536_000,
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SESSION_COOKIE_NAME": "__Host-sessionid",
    "CSRF_COOKIE_NAME": "__Host-csrftoken",
}


@pytest.fixture
def behind_tls(settings: Settings) -> Settings:
    for name, text in BEHIND_TLS.items():
        setattr(settings, name, text)
    return settings


def test_everything_is_in_order_behind_tls(behind_tls: Settings) -> None:
    assert [rule.id for rule in site.RULES if rule.look().mend] == []


def test_everything_is_in_order_on_this_machine_and_said_to_be_so(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1"]  # the tests' client adds its own
    answers = {rule.id: rule.look() for rule in site.RULES}
    assert [name for name, answer in answers.items() if answer.mend] == []
    for name in ("face.E002", "face.E019", "face.E020", "face.W002"):
        assert "loopback" in answers[name].said


@pytest.mark.parametrize(
    ("look", "changed", "said"),
    [
        (site.links_use_https, {"SITE_URL": "http://keys.example.org"}, "does not begin with https"),
        (site.plain_http_stays_local, {"PLAIN_HTTP": True}, "others can reach"),
        (
            site.plain_http_stays_local,
            {"PLAIN_HTTP": True, "SITE_URL": "http://localhost", "ALLOWED_HOSTS": ["localhost", "10.0.0.5"]},
            "others can reach",
        ),
        (site.plain_http_stays_local, {"PLAIN_HTTP": True, "SITE_URL": "", "ALLOWED_HOSTS": []}, "others can reach"),
        (site.debug_is_off, {"DEBUG": True}, "DEBUG is on"),
        (site.debug_is_off, {"DEBUG_PROPAGATE_EXCEPTIONS": True}, "DEBUG is on"),
        (site.hosts_are_named, {"ALLOWED_HOSTS": ["*"]}, "nobody chose: *"),
        (site.hosts_are_named, {"ALLOWED_HOSTS": [".example.org"]}, "nobody chose: .example.org"),
        (site.hosts_are_named, {"ALLOWED_HOSTS": []}, "every request is refused"),
        (site.forms_come_from_here, {"CSRF_TRUSTED_ORIGINS": ["https://*.example.org"]}, "https://*.example.org"),
        (site.forms_come_from_here, {"CSRF_TRUSTED_ORIGINS": ["http://keys.example.org"]}, "http://keys"),
        (site.https_is_forced, {"SECURE_SSL_REDIRECT": False}, "SECURE_SSL_REDIRECT is off"),
        (site.https_is_forced, {"SECURE_HSTS_SECONDS": 3600}, "HSTS lasts 3600 s"),
        (site.https_is_forced, {"SECURE_HSTS_INCLUDE_SUBDOMAINS": False}, "below this one"),
        (site.cookies_are_kept, {"SESSION_COOKIE_SECURE": False}, "SESSION_COOKIE_SECURE is off"),
        (site.cookies_are_kept, {"CSRF_COOKIE_HTTPONLY": False}, "CSRF_COOKIE_HTTPONLY is off"),
        (site.cookies_are_kept, {"SESSION_COOKIE_SAMESITE": "None"}, "SESSION_COOKIE_SAMESITE"),
        (site.cookies_are_kept, {"CSRF_COOKIE_NAME": "csrftoken"}, "does not begin with __Host-"),
        (site.proxy_is_known, {"TRUSTED_PROXIES": 0}, "TRUSTED_PROXIES is 0"),
    ],
)
def test_what_is_wrong_is_said(
    behind_tls: Settings, look: Callable[[], Answer], changed: dict[str, object], said: str
) -> None:
    for name, text in changed.items():
        setattr(behind_tls, name, text)
    answer = look()
    assert said in answer.said
    assert answer.mend


def test_cookies_that_scripts_can_read_are_wrong_on_this_machine_too(settings: Settings) -> None:
    settings.SESSION_COOKIE_HTTPONLY = False
    assert "HTTPONLY" in site.cookies_are_kept().said
    assert site.cookies_are_kept().mend
