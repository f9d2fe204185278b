"""What the code should never be talked out of."""

from collections.abc import Callable

import pytest
from django.conf import settings as configured
from pytest_django import Settings

from keyvault_admin.checks import djangos, house, retention
from keyvault_admin.checks.places import Place, is_loopback, place_of
from keyvault_admin.checks.rules import Answer, State


@pytest.mark.parametrize(
    ("look", "changed", "said"),
    [
        (house.time_is_utc, {"TIME_ZONE": "Europe/Berlin"}, "TIME_ZONE is Europe/Berlin"),
        (house.time_is_utc, {"CELERY_TIMEZONE": "Europe/Berlin"}, "that of the beat Europe/Berlin"),
        (house.time_is_utc, {"USE_TZ": False}, "USE_TZ is False"),
        (house.factors_are_hidden, {"OTP_ADMIN_HIDE_SENSITIVE_DATA": False}, "would show the seeds"),
        (house.messages_are_json, {"CELERY_ACCEPT_CONTENT": ["json", "pickle"]}, "json, pickle"),
        (house.messages_are_json, {"CELERY_TASK_SERIALIZER": "yaml"}, "json, yaml"),
        (retention.log_is_kept_long_enough, {"AUDIT_RETENTION_DAYS": 364}, "R183 demands at least 365"),
        (djangos.silence_has_a_reason, {"SILENCED_SYSTEM_CHECKS": ["security.W018"]}, "security.W018"),
    ],
)
def test_what_is_wrong_is_said(
    settings: Settings, look: Callable[[], Answer], changed: dict[str, object], said: str
) -> None:
    assert not look().mend
    for name, text in changed.items():
        setattr(settings, name, text)
    assert said in look().said
    assert look().mend


def test_old_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not house.packages_are_mended().mend
    monkeypatch.setitem(house.FLOORS, "celery", ((99, 1), "a hole"))
    assert "is older than 99.1 (a hole)" in house.packages_are_mended().said
    assert house.packages_are_mended().mend


def test_version_of_reads_what_packages_call_themselves() -> None:
    assert house.version_of("5.2.19") == (5, 2, 19)
    assert house.version_of("6.0rc1") == (6, 0)
    assert house.version_of("dev") == ()


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "", "/run/postgresql"]
)
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["db", "localhost.example.org", "10.0.0.1", "128.0.0.1", "::", "127.0.0.1.example.org", "::2"]
)
def test_hosts_elsewhere(host: str) -> None:
    assert not is_loopback(host)


def test_place_of_is_that_of_the_farthest(settings: Settings) -> None:
    assert place_of("localhost,127.0.0.1", "") is Place.LOOPBACK
    assert place_of("localhost,db") is Place.ELSEWHERE
    settings.INSIDE_HOSTS = ["DB"]
    assert place_of("localhost,db") is Place.INSIDE
    assert place_of("db", "10.0.0.3") is Place.ELSEWHERE


def test_inside_hosts_with_a_public_address_are_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "excuses no server" in house.inside_hosts_are_private().said
    settings.INSIDE_HOSTS = ["10.1.2.3", "8.8.8.8", "unused.example.org"]
    monkeypatch.setitem(configured.DATABASES["default"], "HOST", "10.1.2.3")
    assert house.inside_hosts_are_private().said.endswith("private: 10.1.2.3.")
    settings.CELERY_BROKER_URL = "redis://:x@8.8.8.8/0"
    assert "8.8.8.8 is a public one" in house.inside_hosts_are_private().said
    assert house.inside_hosts_are_private().mend


def test_every_silenced_check_is_shown_with_its_reason(settings: Settings) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "security.W012", "security.W016"]
    shown = {name: (state, answer.said) for name, state, answer in djangos.messages()}
    for name in settings.SILENCED_SYSTEM_CHECKS:
        assert shown[name][0] is State.OK
        assert "plain http is served to this machine alone" in shown[name][1]


def test_what_django_warns_of_is_shown(settings: Settings) -> None:
    settings.DEBUG, settings.SILENCED_SYSTEM_CHECKS = True, []
    shown = {name: state for name, state, _ in djangos.messages()}
    assert shown["security.W018"] is State.WARNING
    assert shown["security.W004"] is State.WARNING
    assert not [name for name in shown if name.startswith("face.")]
