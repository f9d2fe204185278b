"""The pages that change the rules: first the effect, then the button that names it; and who may do so."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.core import signing
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse
from django.utils import timezone

from inventory import clause_views
from inventory.finding_effects import SAMPLE
from inventory.models import Finding, Key, PolicyClause
from inventory.selectors import threat_level
from inventory.terms import KeyKind
from keyvault_admin.access.models import User
from rotation.models import Request, RequestState
from tests.conftest import _become, make_person
from tests.inventory.world import events_of, make_key, make_owner, seal
from tests.people import sign_in
from tests.rotation.approval_world import again, carry_out, vote

pytestmark = pytest.mark.django_db
LIST = "/inventory/policyclause/"


def shortened(clause, **changes):
    entered = {
        "source": clause.source, "document": clause.document, "section": clause.section, "text": clause.text,
        "requirement": clause.requirement, "access": clause.access, "longest_age_days": 60,
        "revision": clause.revision, "reason": "the board decided",
    }  # fmt: skip
    return entered | changes


def hidden(answer):
    return {
        name: re.search(rf'name="{name}" value="([^"]*)"', answer.content.decode())[1] for name in ("draft", "digest")
    }


def text_of(answer):
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def clause():
    return PolicyClause.objects.get(code="s4-production-90")


def edit_page():
    return reverse("admin:inventory_policyclause_edit", args=[clause().pk])


def decided(request, devops):
    """Let somebody else of Security and somebody of DevOps vote for it, and the worker carry it out."""
    security = User.objects.filter(username="second").first() or make_person("second", "Security")
    for person in (security, devops):
        vote(person, request)
    with _become("worker"):
        assert carry_out(request).state == RequestState.EXECUTED, again(request).closed_because


@pytest.fixture
def late_by_60(any_db):
    """Three production keys that 90 days leave alone and 60 do not: two of ann, one of nobody."""
    rotated, ann = timezone.now().date() - timedelta(days=75), make_owner("ann")
    for name, owner in (("a", ann), ("b", ann), ("c", None)):
        make_key(name=name, last_rotated_on=rotated, owner=owner, now=timezone.now())


def test_the_effect_is_shown_before_anything_is_saved_and_the_button_names_it(db, client, alice, bob, late_by_60):
    sign_in(client, alice)
    assert "Show the effect" in text_of(client.get(edit_page()))
    answer = client.post(edit_page(), shortened(clause()))
    said = text_of(answer)
    assert "Ask: 3 keys become overdue" in said
    assert "3 keys become overdue the moment this is carried out; 1 owner is affected" in said
    assert re.search(r"ann 2 0 0", said)
    assert re.search(r"nobody Security is told 1 0 0", said)
    assert "90 60" in said
    assert clause().longest_age_days == 90
    answer = client.post(edit_page(), hidden(answer), follow=True)
    request = Request.objects.get()
    assert answer.redirect_chain[-1][0] == reverse("admin:rotation_request_change", args=[request.pk])
    assert "3 keys become overdue at once, of 1 owner." in text_of(answer)
    assert clause().longest_age_days == 90
    decided(request, bob)
    assert clause().longest_age_days == 60
    assert Key.objects.overdue(timezone.now()).count() == 3
    seal()
    said = text_of(client.get(reverse("admin:inventory_policyclause_change", args=[clause().pk])))
    assert "edited the clause S4 Key Management" in said
    assert "3 keys became overdue, 3 keys got another date or clause: “the board decided”" in said
    (event,) = events_of("clause.edited")
    assert (event.said.on_behalf_of, event.said.reason) == (alice.ref, "the board decided")
    assert event.said.facts["request"] == request.ref


def test_findings_that_open_are_shown_before_asked_for_with_it_and_then_open(db, client, alice, bob):
    for number in range(SAMPLE + 1):
        make_key(name=f"token {number}", is_exportable=True, now=timezone.now())
    sign_in(client, alice)
    found = clause()
    entered = shortened(found, longest_age_days=found.longest_age_days, not_exportable="on")
    answer = client.post(edit_page(), entered)
    said = text_of(answer)
    assert "6 findings open." in said
    assert "Ask: 6 findings open" in said
    listed = "token 0 , token 1 , token 2 , token 3 , token 4 , and 1 more"
    assert f"Exportable high 6 keys {listed} —" in said
    answer = client.post(edit_page(), hidden(answer), follow=True)
    request, said = Request.objects.get(), text_of(answer)
    assert "No key gets another date by it. 6 findings open." in said
    assert f"Opens: exportable on 6 keys when it was asked {listed}" in said
    first = reverse("admin:inventory_key_change", args=[Key.objects.get(name="token 0").pk])
    assert f'<a href="{first}">token 0</a>' in answer.content.decode()
    assert not Finding.objects.filter(code="exportable").exists()
    Key.objects.filter(name="token 0").update(name="renamed since")  # the page stays with what was asked
    assert listed in text_of(client.get(reverse("admin:rotation_request_change", args=[request.pk])))
    decided(request, bob)
    assert Finding.objects.filter(code="exportable", closed_at=None).count() == SAMPLE + 1
    seal()
    said = text_of(client.get(reverse("admin:inventory_policyclause_change", args=[found.pk])))
    assert "6 findings opened: “the board decided”" in said


def test_other_findings_than_people_voted_on_make_the_request_void(db, client, alice, bob):
    sign_in(client, alice)
    make_key(name="token", is_exportable=True, now=timezone.now())
    found = clause()
    entered = shortened(found, longest_age_days=found.longest_age_days, not_exportable="on")
    client.post(edit_page(), hidden(client.post(edit_page(), entered)))
    request = Request.objects.get()
    make_key(name="another", is_exportable=True, now=timezone.now())
    for person in (make_person("second", "Security"), bob):
        vote(person, request)
    with _become("worker"):
        assert carry_out(request).state == RequestState.VOID
    assert again(request).closed_because.startswith("What this would do to the keys has changed")
    assert not Finding.objects.filter(code="exportable").exists()


def test_a_change_of_many_keys_says_beforehand_that_it_takes_minutes(db, client, alice, late_by_60, monkeypatch):
    sign_in(client, alice)
    level = {"level": "elevated", "elevated_percent": 75, "high_percent": 50, "revision": 1, "reason": "thefts"}
    asked = [(edit_page(), shortened(clause())), (reverse("admin:inventory_policyclause_threat"), level)]
    assert [text_of(client.post(page, said)).count("takes minutes") for page, said in asked] == [0, 0]
    monkeypatch.setattr(clause_views, "KEYS_AT_ONCE", 2)
    by_votes, at_once = (text_of(client.post(page, said)) for page, said in asked)
    assert "Writing the dates of 3 keys takes minutes." in by_votes
    assert "Leave this page open" not in by_votes
    assert "Writing the dates of 3 keys takes minutes." in at_once
    assert "Leave this page open" in at_once


def test_an_effect_that_became_another_is_shown_again(db, client, alice, late_by_60):
    sign_in(client, alice)
    shown = hidden(client.post(edit_page(), shortened(clause())))
    make_key(name="d", last_rotated_on=timezone.now().date() - timedelta(days=75), now=timezone.now())
    answer = client.post(edit_page(), shown)
    assert "has changed since it was shown" in text_of(answer)
    assert "Ask: 4 keys become overdue" in text_of(answer)
    assert not Request.objects.exists()
    client.post(edit_page(), hidden(answer))
    assert Request.objects.get().operation == "clause.edit"


def test_a_draft_can_be_changed_again(db, client, alice):
    sign_in(client, alice)
    shown = hidden(client.post(edit_page(), shortened(clause(), on_events="a fire\r\na flood")))
    answer = client.post(edit_page(), shown | {"again": "1"})
    assert "Show the effect" in text_of(answer)
    assert 'name="longest_age_days" value="60"' in answer.content.decode()
    assert "a fire\na flood" in answer.content.decode()
    assert "the board decided" in text_of(answer)


@pytest.mark.parametrize("change", ["altered", "of somebody else", "of another page", "too old"])
def test_a_draft_that_is_not_ones_own_of_this_page_saves_nothing(db, client, alice, change):
    sign_in(client, alice)
    shown = hidden(client.post(edit_page(), shortened(clause())))
    said = signing.loads(shown["draft"], salt="inventory.clause_views.draft")
    said |= {"of somebody else": {"user": alice.pk + 1}, "of another page": {"pk": clause().pk + 1}}.get(change, {})
    shown["draft"] = signing.dumps(said, salt="inventory.clause_views.draft", compress=True)
    if change == "altered":
        shown["draft"] = shown["draft"][:-1] + ("A" if shown["draft"][-1] != "A" else "B")
    if change == "too old":
        import time_machine

        with time_machine.travel(timezone.now() - timedelta(hours=2)):
            shown["draft"] = signing.dumps(said, salt="inventory.clause_views.draft", compress=True)
    answer = client.post(edit_page(), shown, follow=True)
    assert "Nothing was changed: enter it again." in text_of(answer)
    assert clause().longest_age_days == 90


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"longest_age_days": "4000"}, "less than or equal to 3650"),
        ({"longest_age_days": ""}, "A clause demands something"),
        ({"reason": ""}, "This field is required"),
        ({"kinds": ["stone"]}, "not one of the available choices"),
        ({"forbidden_media": ["file"], "allowed_media": ["file"]}, "forbidden and permitted by the same clause"),
    ],
)
def test_what_cannot_be_saved_is_said_on_the_form(db, client, alice, changes, said):
    sign_in(client, alice)
    answer = text_of(client.post(edit_page(), shortened(clause(), **changes)))
    assert said in answer
    assert "Nothing was changed." in answer
    assert "Ask:" not in answer


def test_a_clause_is_registered_and_retired(db, client, alice, bob):
    sign_in(client, alice)
    make_key(now=timezone.now())
    entered = shortened(clause(), code="ours-30", source="Ours", longest_age_days=30, kinds=["api_token"])
    answer = client.post(LIST + "add/", entered)
    assert "Ask:" in text_of(answer)
    client.post(LIST + "add/", hidden(answer))
    decided(Request.objects.get(), bob)
    made = PolicyClause.objects.get(code="ours-30")
    assert Key.objects.get().winning_clause == made
    page = reverse("admin:inventory_policyclause_retire", args=[made.pk])
    answer = client.post(page, {"reason": "a mistake", "revision": made.revision})
    assert "is taken out of force for good" in text_of(answer)
    client.post(page, hidden(answer))
    decided(Request.objects.get(operation="clause.retire"), bob)
    assert "Retired" in text_of(client.get(reverse("admin:inventory_policyclause_change", args=[made.pk])))
    assert Key.objects.get().winning_clause.code == "s4-production-90"
    assert client.get(page).status_code == 404


def test_the_threat_level_is_raised_at_once_and_lowered_by_votes(db, client, alice, bob):
    sign_in(client, alice)
    key = make_key(now=timezone.now())
    page = LIST + "threat-level/"
    entered = {
        "level": "elevated",
        "elevated_percent": 75,
        "high_percent": 50,
        "revision": 1,
        "reason": "a wave of thefts",
    }
    answer = client.post(page, entered)
    assert "normal elevated" in text_of(answer)
    assert "Save:" in text_of(answer)
    client.post(page, hidden(answer))
    assert threat_level().level == "elevated"
    assert "demands 90 days, and the threat level is elevated: 90 days become 67, counted from" in text_of(
        client.get(f"/inventory/key/{key.pk}/change/")
    )
    assert "75 % of every longest age is left" in text_of(client.get(LIST))
    seal()
    assert "a wave of thefts" in text_of(client.get(page))
    answer = client.post(page, entered | {"level": "normal", "revision": 2})
    assert "Ask:" in text_of(answer)
    client.post(page, hidden(answer))
    assert threat_level().level == "elevated"
    decided(Request.objects.get(operation="threat_level.lower"), bob)
    assert threat_level().level == "normal"


def test_the_list_says_what_each_demands_and_links_filter_it(db, client, alice):
    sign_in(client, alice)
    make_key(now=timezone.now())
    said = text_of(client.get(LIST))
    assert "rotation every 90 days" in said
    assert "never kept in: environment variable, file on a server, source control" in said
    assert "Threat level normal." in said
    assert "By source All S0 S1 S2 S3 S4" in said or "All S0 S1 S2 S3 S4" in said
    chosen = client.get(f"{LIST}?source=S3")
    assert {clause.source for clause in chosen.context["cl"].result_list} == {"S3"}
    assert "source: S3" in text_of(chosen).replace("Source: ", "source: ")
    assert "All S0 S1 S2 S3 S4" in text_of(chosen)
    nothing = client.get(f"{LIST}?source=none")
    assert list(nothing.context["cl"].result_list) == []
    assert "All S0 S1 S2 S3 S4" in text_of(nothing)


def test_the_list_costs_ten_queries_at_most_whatever_there_is(db, client, alice, as_owner):
    addresses = [LIST, f"{LIST}?source=S4", f"{LIST}?is_in_force__exact=1", f"{LIST}?o=-2", f"{LIST}?_facets=True"]
    sign_in(client, alice)
    counted, start = [], timezone.now()
    for number, keys in enumerate((1, 60)):
        for one in range(keys):
            make_key(name=f"{number}/{one}", kind=KeyKind.values[one % len(KeyKind)], now=start)
        with as_owner():
            for one in range(keys):
                PolicyClause(
                    code=f"c{number}-{one}", source=f"S{one + 9}", document="Ours", section="§1", on_events=["x"]
                ).save()
        for place, address in enumerate(addresses):
            later = start + timedelta(minutes=2 * (place + 1 + number * len(addresses)))
            with time_machine.travel(later, tick=False), CaptureQueriesContext(connection) as asked:
                assert client.get(address).status_code == 200
            counted.append(len(asked))
    assert counted[:5] == counted[5:]
    assert max(counted) <= 10  # one of them writes, once a minute, that the session is in use


CHANGING = ["add/", "threat-level/", "{}/edit/", "{}/retire/"]
SHOWING = ["", "conflicts/", "{}/change/"]


@pytest.mark.parametrize("person", ["alice", "bob", "carol", "dave", "erin", "mallory"])
def test_security_alone_changes_the_rules_and_every_role_reads_them(db, request, person):
    client = Client()
    sign_in(client, request.getfixturevalue(person))
    number = clause().pk
    for path in CHANGING:
        answer = client.get(LIST + path.format(number))
        assert answer.status_code == {"alice": 200, "mallory": 302}.get(person, 403), path
        posted = client.post(LIST + path.format(number), {"draft": "x"})
        assert posted.status_code == {"alice": 302, "mallory": 302}.get(person, 403), path
    for path in SHOWING:
        answer = client.get(LIST + path.format(number))
        assert answer.status_code == (302 if person == "mallory" else 200), path
        if person not in {"alice", "mallory"}:
            assert "Edit" not in text_of(answer)
            assert "Register a clause" not in text_of(answer)


def test_doors_that_change_the_rules_declare_step_up():
    for path in CHANGING:
        assert resolve(LIST + path.format(1)).func.requires_step_up is True
    for path in SHOWING:
        assert not hasattr(resolve(LIST + path.format(1)).func, "requires_step_up")


def test_the_conflicts_page_marks_the_strictest(db, client, dave):
    sign_in(client, dave)
    said = text_of(client.get(LIST + "conflicts/"))
    assert "Every 90 days strictest R210" in said
    assert "150 bits (RSA-4096) or better" in said
