"""What the log says, as pages show it: to whom, at what price; what a night leaves on the first page and in mail."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.actions import Action
from inventory import services
from inventory.replay import recording
from inventory.tasks import compare_if_asked
from rotation.differences import compare_and_tell
from rotation.models import Digest
from tests.inventory.world import ACTOR, NOW, events_of, make_key, make_owner, seal
from tests.people import sign_in

pytestmark = pytest.mark.django_db
PAGE = "/inventory/key/replay/"


def tamper(as_owner, statement):
    seal()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(statement)


def text_of(client, person, address):
    sign_in(client, person)
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_the_page_says_that_nobody_has_compared_yet(client, dave):
    assert "Nobody has compared them yet" in text_of(client, dave, PAGE)


def test_a_difference_stands_on_the_page_the_first_page_and_in_the_mail(client, alice, as_owner):
    make_key()
    tamper(as_owner, "UPDATE inventory_key SET notes = '<b>z</b>', environment = 'test'")
    assert compare_and_tell(actor=ACTOR, now=NOW).differing == 2
    seal()
    shown = text_of(client, alice, PAGE)
    assert "2 fields changed outside the application" in shown
    assert '<td data-label="The log says">production</td> <td data-label="The table says">test</td>' in shown
    assert "&lt;b&gt;z" in shown
    posture = text_of(client, alice, "/")
    assert "differs" in posture
    assert "2 fields changed outside the application" in posture
    assert "Find out who wrote into the database" in posture
    (letter,) = Digest.objects.all()
    assert letter.recipient == alice.email
    assert "billing/stripe: environment" in letter.text
    assert "production" not in letter.text  # values stay on the page


def test_equal_tables_write_no_mail(client, alice):
    make_key()
    seal()
    compare_and_tell(actor=ACTOR, now=NOW)
    seal()
    assert not Digest.objects.exists()
    assert "The tables hold what the log says" in text_of(client, alice, PAGE)


def test_an_auditor_asks_and_a_worker_compares_once(client, dave, django_capture_on_commit_callbacks):
    sign_in(client, dave)
    with django_capture_on_commit_callbacks():
        client.post(PAGE)
    seal()
    with django_capture_on_commit_callbacks():
        client.post(PAGE)  # it is under way
    seal()
    assert len(events_of(Action.INVENTORY_REPLAY_ASKED)) == 1
    assert "A comparison is under way" in text_of(client, dave, PAGE)
    for _ in range(2):
        compare_if_asked()
        seal()
    assert len(events_of(Action.INVENTORY_REPLAYED)) == 1
    assert not recording.latest().is_waiting


def test_the_page_costs_the_same_however_much_differs(client, alice, as_owner):
    costs = []
    for some in (1, 12):
        for number in range(some):
            make_key(name=f"key/{some}/{number}")
        tamper(as_owner, "UPDATE inventory_key SET notes = 'z'")
        compare_and_tell(actor=ACTOR, now=NOW)
        seal()
        sign_in(client, alice)
        with CaptureQueriesContext(connection) as queries:
            client.get(PAGE)
        costs.append(len(queries))
    assert costs[0] == costs[1] <= 10


def test_a_key_as_of_a_day_is_as_it_was_then(client, bob):
    with time_machine.travel(NOW, tick=False):
        key = make_key(owner=make_owner("ann"), notes="as it was")
    seal()
    services.edit_key(pk=key.pk, changes={"notes": "as it is"}, expected_revision=1, actor=ACTOR, reason="r", now=NOW)
    seal()
    today, address = timezone.now().date(), f"/inventory/key/{key.pk}/as-of/"
    shown = text_of(client, bob, address)
    assert "as it is" in shown
    assert "ann" in shown
    before = text_of(client, bob, f"{address}?day={today - timedelta(days=1)}")
    assert "The log says nothing of this key up to that day" in before
    assert "Write the day as 2031-01-01." in text_of(client, bob, f"{address}?day=never")


def test_others_see_no_comparison(client, bob, carol, erin):
    for person in (bob, carol, erin):
        sign_in(client, person)
        assert (person.has_perm("audit.view_event"), client.get(PAGE).status_code) in {(False, 403), (True, 200)}
