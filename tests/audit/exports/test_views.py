"""The page of the exports, and the download of a part of the log."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import reverse

from audit import export_views, selectors
from audit.actions import Action
from audit.actor import Actor
from audit.exports.targets import VERIFIER
from audit.models import ExportCursor
from audit.standalone import verify_log
from audit.step_up import StepUpNeededError
from keyvault_admin.access.models import TotpDevice, User

Fill = Callable[[int], None]
pytestmark = pytest.mark.django_db


def ask(user: User, name: str, posted: dict[str, str] | None = None, *, stepped_up: bool = True) -> HttpResponse:
    """Return the answer to this person, with their second factor of just now."""
    address = reverse(f"admin:audit_exportcursor_{name}")
    request = RequestFactory().post(address, posted) if posted is not None else RequestFactory().get(address)
    user.otp_device, user.is_verified = TotpDevice(pk=1), lambda: True
    request.user, request.session, request.has_stepped_up = user, {}, stepped_up
    request.actor = Actor(kind="person", id=user.ref, role=user.role)
    view = getattr(
        admin.site._registry[ExportCursor],
        {"changelist": "exports_view", "download": "download_view", "verifier": "verifier_view"}[name],
    )
    response = view(request)
    return response.render() if hasattr(response, "render") else response


def content(response: HttpResponse) -> bytes:
    return b"".join(response.streaming_content)


def test_the_page_lists_cursors_with_what_is_wrong_and_without_what_stands_behind_the_question_mark(
    fill: Fill, alice: User, as_role: Callable, now
) -> None:
    fill(5)
    assert "Nowhere yet" in ask(alice, "changelist").content.decode()
    with as_role("worker"):
        facts = {"begun_at": now, "digest": bytes(32)}
        ExportCursor.objects.create(
            name="syslog+tls://siem:6514?format=cef", kind="syslog+tls", number=2, failing_since=now,
            error="It did not take it.", **facts,
        )  # fmt: skip
        ExportCursor.objects.create(name="archive", kind="export", number=5, moved_at=now, **facts)
    text = ask(alice, "changelist").content.decode()
    for words in ("syslog+tls://siem:6514<", "It did not take it.", "failing", "by hand", ">3<"):
        assert words in text
    assert "?format" not in text


@pytest.mark.parametrize("name", ["bob", "carol", "erin", "mallory"])
def test_others_neither_see_nor_take(fill: Fill, name: str, request: pytest.FixtureRequest) -> None:
    user = request.getfixturevalue(name)
    for door, posted in (("changelist", None), ("verifier", None), ("download", {"file_format": "csv"})):
        with pytest.raises(PermissionDenied):
            ask(user, door, posted)


def test_a_download_is_streamed_recorded_and_needs_the_second_factor(
    fill: Fill, dave: User, tmp_path, seal_events: Callable[[], None]
) -> None:
    fill(9)
    with pytest.raises(StepUpNeededError):
        ask(dave, "download", {"file_format": "ndjson"}, stepped_up=False)
    response = ask(dave, "download", {"file_format": "ndjson", "first": "3", "last": "7"})
    assert response["Content-Disposition"] == 'attachment; filename="audit-3-7.ndjson"'
    assert response["Cache-Control"] == "no-store"
    (tmp_path / "log").write_bytes(content(response))
    assert verify_log.main([str(tmp_path / "log")]) == 0
    numbers = [json.loads(line)["number"] for line in (tmp_path / "log").read_text().splitlines()[1:]]
    assert numbers == [3, 4, 5, 6, 7]
    seal_events()
    told = [event.said for event in selectors.events(limit=2)]
    assert [(said.action, said.actor_id) for said in told] == [
        (Action.AUDIT_EXPORTED, dave.ref),
        (Action.AUDIT_EXPORT_BEGUN, dave.ref),
    ]
    day = f"{selectors.event(1).stamped.recorded_at:%Y-%m-%d}"
    today = ask(dave, "download", {"file_format": "csv", "begin": day, "end": day, "with_names": "on"})
    assert b"Bob Builder" in content(today)


def test_what_cannot_leave_is_said_on_the_page(fill: Fill, dave: User, monkeypatch: pytest.MonkeyPatch, now) -> None:
    fill(5)
    monkeypatch.setattr(export_views, "MOST_EVENTS", 4)
    tomorrow = f"{selectors.event(1).stamped.recorded_at + timedelta(days=2):%Y-%m-%d}"
    for posted, words in (
        ({"file_format": "csv"}, "These are 5 events; at most 4 leave by the browser."),
        ({"file_format": "csv", "begin": tomorrow}, "No event is in this range"),
        ({"file_format": "ndjson", "last": "2", "with_names": "on"}, "which holds no names"),
        ({"file_format": "xlsx"}, "xlsx is not one of the available choices"),
        ({"file_format": "csv", "first": "x"}, "Enter a whole number"),
    ):
        text = ask(dave, "download", posted).content.decode()
        assert words in text
        assert "Nothing was exported." in text


def test_the_verifier_is_the_file_itself(alice: User) -> None:
    assert ask(alice, "verifier").content == VERIFIER.read_bytes()
