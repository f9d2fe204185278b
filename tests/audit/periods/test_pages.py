"""What a browser shows of closed and dropped periods."""

from collections.abc import Callable

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from audit.models import Period
from keyvault_admin.access.models import User
from tests.conftest import CommittedDatabase, make_person
from tests.people import sign_in


def test_periods_are_listed_and_a_dropped_event_says_where_it_is(
    old_log: CommittedDatabase,
    close: Callable[..., Period],
    drop: Callable[..., Period],
    client: Client,
    settings: Settings,
) -> None:
    settings.SECURE_SSL_REDIRECT = False
    auditor, stranger = make_person("dave", "Auditor"), make_person("carol", "Engineering")
    assert isinstance(auditor, User)
    sign_in(client, auditor)
    assert "manage.py close_audit_period exports them" in client.get("/audit/period/").content.decode()
    close()
    close()
    drop(1)
    with CaptureQueriesContext(connection) as queries:
        page = client.get("/audit/period/").content.decode()
    assert len(queries) <= 10
    period = Period.objects.get(number=1)
    for words in (
        "1 to 20",
        "21 to 40",
        "closed, still here",
        "command:drop_audit_period",
        period.export_name,
        bytes(period.export_digest).hex(),
    ):
        assert words in page
    gone = client.get("/audit/event/7/change/")
    assert gone.status_code == 410
    for words in (
        "Event 7 was dropped with its period",
        period.export_name,
        bytes(period.export_digest).hex(),
        "checkpoint of 20 events",
    ):
        assert words in gone.content.decode()
    assert client.get("/audit/event/21/change/").status_code == 200
    assert client.get("/audit/event/99999/change/").status_code == 404
    client.logout()
    sign_in(client, stranger)
    assert client.get("/audit/period/").status_code == client.get("/audit/event/7/change/").status_code == 403
