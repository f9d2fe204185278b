"""Two words for whoever watches the process, and nothing else."""

import logging

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from pytest_django import Settings

from keyvault_admin import health
from tests.conftest import CommittedDatabase, RoleSwitch, default_database


@pytest.fixture(autouse=True)
def forget_migrations() -> None:
    health.migrations.cache_clear()


def test_live_needs_nothing(client: Client) -> None:
    answer = client.get("/-/live")
    assert (answer.status_code, answer.content) == (200, b"live")


def test_ready_says_one_word_and_keeps_no_session(client: Client, db: None) -> None:
    answer = client.get("/-/ready")
    assert (answer.status_code, answer.content) == (200, b"ready")
    assert not answer.cookies
    assert "no-store" in answer["Cache-Control"]
    assert not Session.objects.exists()


@pytest.mark.parametrize("path", ["/-/live", "/-/ready"])
def test_health_only_answers_reads(client: Client, db: None, path: str) -> None:
    assert client.head(path).status_code == 200
    assert client.post(path).status_code == 405


def test_ready_notices_a_lost_broker(
    client: Client, db: None, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CELERY_BROKER_URL = "redis://:a-secret@127.0.0.1:1/0"
    answer = client.get("/-/ready")
    assert (answer.status_code, answer.content) == (503, b"unready")
    assert "broker" in caplog.text
    assert "a-secret" not in caplog.text


def test_ready_notices_a_lost_database(client: Client, committed_db: CommittedDatabase) -> None:
    connection.close()
    with default_database(PORT=1):
        answer = client.get("/-/ready")
        connection.close()
    assert (answer.status_code, answer.content) == (503, b"unready")
    assert client.get("/-/live").status_code == 200


def test_ready_notices_a_missing_migration(client: Client, db: None, as_role: RoleSwitch) -> None:
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'audit'")
    assert client.get("/-/ready").status_code == 503


def test_ready_notices_an_audit_log_that_is_nearly_full(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(health, "EVENTS_AHEAD", 10**9)
    assert client.get("/-/ready").status_code == 503
    assert "audit_log" in caplog.text
