"""The pages with figures and facts: what they say, to whom, at what price in queries, and where their links lead."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit.actions import Action, Outcome
from audit.services import record
from inventory import services
from inventory.guarded.suspending import suspend_key
from inventory.models import Finding, ImportDraft, Key, KeyParent
from inventory.states import State
from keyvault_admin.access.models import User
from tests.conftest import RoleSwitch
from tests.inventory.working import brought
from tests.inventory.world import ACTOR, NOW, make_key, make_owner, seal
from tests.people import sign_in

LIST = "/inventory/key/"


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def words(answer: object) -> str:
    """Return what a person reads of a page: no markup, single spaces."""
    text = re.sub(r"<(style|script|head)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("&#x27;", "'").split()).replace(" ,", ",").replace(" .", ".")


def page_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return words(answer)


def dossier(client: Client, key: Key) -> str:
    seal()
    return page_of(client, f"{LIST}{key.pk}/change/")


def counted(client: Client, path: str) -> int:
    """Return how many keys a list shows."""
    return client.get(path).context["cl"].result_count


# The first page


def test_index_says_what_to_do_while_nothing_is_registered(client: Client, alice: User) -> None:
    sign_in(client, alice)
    page = page_of(client, "/")
    assert "Nothing is registered yet" in page
    assert "import_inventory FILE --dry-run" in page
    assert "Most overdue" not in page


def test_index_offers_no_import_to_who_may_not(client: Client, erin: User) -> None:
    sign_in(client, erin)
    page = page_of(client, "/")
    assert "Nothing is registered yet" in page
    assert "Import an inventory" not in page


def test_index_counts_and_links_to_lists_of_that_length(client: Client, alice: User) -> None:
    owner = make_owner("carol", "carol@example.org")
    make_key(name="late", owner=owner)
    make_key(name="later", last_rotated_on=date(2026, 8, 20))
    make_key(name="soon", last_rotated_on=date(2026, 9, 1), owner=owner)
    make_key(name="next-week", last_rotated_on=date(2026, 8, 27), owner=owner)
    make_key(name="ageless", created_on=None, last_rotated_on=None, owner=owner)
    make_key(name="not-yet", state=State.PRE_ACTIVATION, owner=owner)
    sign_in(client, alice)
    answer = client.get("/")
    tiles = {tile.label: tile for tile in answer.context["tiles"]}
    assert {label: tile.figure for label, tile in tiles.items()} == {
        "Overdue": "2",
        "Due in 30 days": "2",
        "Suspended": "0",
        "Without an owner": "1",
        "Open findings": str(Finding.objects.count()),
        "Reviews overdue": "0",
        "Audit log": "not verified",
        "Waiting for your vote": "0",
    }
    for label in ("Overdue", "Due in 30 days", "Suspended", "Without an owner"):
        assert counted(client, tiles[label].url) == int(tiles[label].figure)
    bars = [bar for bar in answer.context["bars"] if bar.count]
    assert [bar.starts_on.date() for bar in bars] == [date(2026, 11, 23), date(2026, 11, 30)]
    assert [counted(client, bar.url) for bar in bars] == [1, 1]
    assert [key.name for key, _ in answer.context["most_overdue"]] == ["late", "later"]
    assert "S4 Key Management: 90 days" in words(answer)


def test_index_leads_an_owner_to_their_own_keys(client: Client, carol: User) -> None:
    owner = make_owner("carol", carol.email, user_id=carol.pk)
    make_key(name="hers", owner=owner)
    make_key(name="somebody-elses")
    sign_in(client, carol)
    step = client.get("/").context["steps"][0]
    assert step.title == "Rotate your overdue keys: 1"
    assert counted(client, step.url) == 1


def test_index_asks_for_a_verification_until_there_is_one(client: Client, dave: User) -> None:
    make_key()
    sign_in(client, dave)
    assert client.get("/").context["steps"][-1].title == "Verify the audit log"
    record(Action.AUDIT_VERIFIED, actor=ACTOR, now=NOW, outcome=Outcome.FAILED)
    seal()
    assert client.get("/").context["steps"][0].title == "Find out who altered the audit log"
    record(Action.AUDIT_VERIFIED, actor=ACTOR, now=NOW)
    seal()
    answer = client.get("/")
    assert not answer.context["steps"]
    assert "Audit log verified within the hour" in words(answer)


def test_index_costs_the_same_however_much_there_is(client: Client, alice: User) -> None:
    sign_in(client, alice)
    make_key(name="first")
    with CaptureQueriesContext(connection) as few:
        client.get("/")
    for number in range(12):
        make_key(name=f"key-{number}", owner=make_owner(f"owner-{number}"))
    with CaptureQueriesContext(connection) as many:
        client.get("/")
    assert len(many) == len(few)


@pytest.mark.parametrize("name", ["key", "owner", "service", "vendor", "policyclause", "algorithm", "finding"])
def test_a_list_costs_at_most_ten_queries(client: Client, alice: User, name: str) -> None:
    sign_in(client, alice)
    for number in range(3):
        make_key(name=f"key-{number}", owner=make_owner(f"owner-{number}"))
    with CaptureQueriesContext(connection) as queries:
        assert client.get(f"/inventory/{name}/").status_code == 200
    assert len(queries) <= 10, [query["sql"][:200] for query in queries]


def test_list_costs_the_same_however_long_it_is(client: Client, alice: User) -> None:
    sign_in(client, alice)
    make_key(name="first", owner=make_owner("owner"))
    with CaptureQueriesContext(connection) as few:
        client.get(LIST)
    for number in range(12):
        make_key(name=f"key-{number}", owner=make_owner(f"owner-{number}"))
    with CaptureQueriesContext(connection) as many:
        client.get(LIST)
    assert len(many) == len(few)


# Lists


@pytest.mark.parametrize("word", ["99999999999999999999", "-1", "x", "", "0"])
def test_list_bears_any_record_in_its_address(client: Client, alice: User, word: str) -> None:
    sign_in(client, alice)
    make_key()
    for name in ("owner", "service", "clause", "due"):
        assert client.get(LIST, {name: word}).status_code == 200


def test_numbers_of_owners_services_and_clauses_link_to_their_keys(client: Client, alice: User) -> None:
    owner = make_owner("carol", "carol@example.org")
    service = services.register_service(name="billing", actor=ACTOR, now=NOW)
    make_key(name="hers", owner=owner, service=service)
    make_key(name="other")
    sign_in(client, alice)
    for page, expected in (("owner", {1}), ("service", {1}), ("policyclause", {2})):
        found = re.findall(rf'href="({LIST}\?[^"]+)">(\d+)<', client.get(f"/inventory/{page}/").content.decode())
        assert {int(figure) for _, figure in found} == expected
        for address, figure in found:
            assert counted(client, address.replace("&amp;", "&")) == int(figure)


# A key


def test_dossier_says_why_it_is_due_when(client: Client, alice: User) -> None:
    sign_in(client, alice)
    page = dossier(client, make_key())
    assert (
        "Was due 11 October 2026 because S4 Key Management demands 90 days, counted from the rotation on 13 July 2026."
        in page
    )
    assert "Also applied: S0 §5 Key Management (365 days)." in page
    assert "To be rotated at once after somebody with access leaves, an incident (S0 §5 Key Management)" in page


def test_dossier_says_why_there_is_no_date(client: Client, alice: User) -> None:
    sign_in(client, alice)
    page = dossier(client, make_key(created_on=None, last_rotated_on=None))
    assert "No date: its age is unknown. S4 Key Management demands a rotation every 90 days" in page


def test_dossier_does_not_call_a_key_late_that_cannot_be(client: Client, alice: User) -> None:
    sign_in(client, alice)
    page = dossier(client, make_key(state=State.PRE_ACTIVATION))
    assert "Would be due 11 October 2026" in page
    assert "days late" not in page


def test_dossier_shows_what_is_missing_and_where_to_mend_it(client: Client, alice: User, dave: User) -> None:
    key = make_key(created_on=None, last_rotated_on=None)
    sign_in(client, alice)
    page = dossier(client, key)
    assert page.partition("Timeline")[0].count("missing") == 5
    assert "The owner is not recorded. Name who answers for the key; until then Security is told." in page
    assert client.get(f"{LIST}{key.pk}/change/").content.decode().count(f"{LIST}{key.pk}/edit/") == 7
    client.logout()
    sign_in(client, dave)  # who may read and nothing else
    assert f"{LIST}{key.pk}/edit/" not in client.get(f"{LIST}{key.pk}/change/").content.decode()


@pytest.mark.parametrize(
    ("state", "acts"),
    [
        (State.PRE_ACTIVATION, {"Activate", "Edit", "Report a compromise"}),
        (State.ACTIVE, {"Edit", "Report a rotation", "Suspend now", "Report a compromise"}),
        (State.SUSPENDED, {"Edit", "Report a compromise"}),
    ],
)
def test_dossier_offers_only_what_may_be_done_now(client: Client, alice: User, state: State, acts: set[str]) -> None:
    sign_in(client, alice)
    key = make_key(state=state)
    seal()
    page = client.get(f"{LIST}{key.pk}/change/").content.decode()
    assert set(re.findall(r'<a class="button[^"]*" href="[^"]+">([^<]+)</a>', page)) == acts


def test_dossier_lets_engineering_act_on_keys_of_their_own_alone(client: Client, carol: User) -> None:
    own = make_key(name="hers", owner=make_owner("carol", carol.email, user_id=carol.pk))
    other = make_key(name="other")
    sign_in(client, carol)
    for key in (own, other):
        shown = "Suspend now" in dossier(client, key)
        assert shown == (client.get(f"{LIST}{key.pk}/suspend/").status_code == 200)


def test_timeline_tells_what_changed_in_words(client: Client, alice: User) -> None:
    first, second = make_owner("ann", "ann@example.org"), make_owner("ben", "ben@example.org")
    key = make_key(owner=first)
    services.edit_key(
        pk=key.pk, changes={"owner": second}, expected_revision=1, actor=ACTOR, reason="ann has left", now=NOW
    )
    suspend_key(pk=key.pk, actor=ACTOR, reason="ticket 4411", now=NOW)
    sign_in(client, alice)
    page = dossier(client, key)
    assert "test edited it: “ann has left”" in page
    assert "Owner ann ben" in page
    assert "test suspended it: “ticket 4411”" in page
    assert "test registered it: “test”" in page
    assert "Environment production" in page
    assert f"owner:{first.pk}" not in page


def test_timeline_is_cut_with_a_hint_at_the_rest(client: Client, dave: User, erin: User) -> None:
    key = make_key()
    for number in range(21):
        services.edit_key(
            pk=key.pk,
            changes={"notes": f"note {number}"},
            expected_revision=number + 1,
            actor=ACTOR,
            reason="more",
            now=NOW + timedelta(seconds=number),
        )
    sign_in(client, dave)
    assert "Only the newest 20 stand here" in dossier(client, key)
    assert reverse("admin:audit_event_changelist") in client.get(f"{LIST}{key.pk}/change/").content.decode()
    client.logout()
    sign_in(client, erin)  # no right to the log
    assert reverse("admin:audit_event_changelist") not in client.get(f"{LIST}{key.pk}/change/").content.decode()


def test_dossier_costs_the_same_however_much_happened(client: Client, alice: User) -> None:
    sign_in(client, alice)
    key = make_key(owner=make_owner("owner-0"))
    seal()

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get(f"{LIST}{key.pk}/change/")
        return len(queries)

    before = cost()
    for number in range(1, 9):
        services.edit_key(
            pk=key.pk,
            changes={"owner": make_owner(f"owner-{number}")},
            expected_revision=number,
            actor=ACTOR,
            reason="passed on",
            now=NOW,
        )
        below = make_key(name=f"wrapped-{number}", kind="dek", secret_name=f"secret-{number}")
        KeyParent.objects.create(child=below, parent=key, relation="wrapped_by")
    seal()
    assert cost() == before


def test_pages_escape_what_people_wrote(client: Client, alice: User) -> None:
    nasty = '<img src=x onerror="alert(1)">'
    sign_in(client, alice)
    key = make_key(name=nasty, purpose=nasty, notes=nasty, algorithm=nasty, owner=make_owner(nasty))
    suspend_key(pk=key.pk, actor=ACTOR, reason=nasty, now=NOW)
    seal()
    for path in ("/", LIST, f"{LIST}{key.pk}/change/", f"{LIST}{key.pk}/edit/", f"{LIST}{key.pk}/suspend/"):
        assert "<img src=x" not in client.get(path).content.decode()


# Forms


def test_decision_says_what_will_happen_before_it_asks(client: Client, alice: User) -> None:
    sign_in(client, alice)
    key = make_key()
    page = page_of(client, f"{LIST}{key.pk}/suspend/")
    assert page.index("version 1, becomes Suspended") < page.index("Why") < page.index("Suspend it now")


def test_edit_that_gives_more_time_waits(client: Client, alice: User) -> None:
    sign_in(client, alice)
    key = make_key()
    entered = {"name": key.name, "kind": key.kind, "environment": "staging", "created_on": "2026-01-10"}
    entered |= {"last_rotated_on": "2026-11-20", "revision": "1", "reason": "moved"}
    page = client.post(f"{LIST}{key.pk}/edit/", entered, follow=True)
    assert "waits until somebody of DevOps approves it" in words(page)
    key.refresh_from_db()
    assert key.environment == "production"


def test_refused_edit_says_why_and_keeps_what_was_entered(client: Client, alice: User) -> None:
    sign_in(client, alice)
    key = make_key()
    entered = {"name": key.name, "kind": key.kind, "environment": "staging", "created_on": "2026-01-10"}
    entered |= {"last_rotated_on": "2026-11-20", "revision": "7", "reason": "moved", "purpose": "kept words"}
    page = client.post(f"{LIST}{key.pk}/edit/", entered)
    assert "was changed by somebody else in the meantime" in words(page)
    assert "kept words" in page.content.decode()
    key.refresh_from_db()
    assert key.environment == "production"


def test_every_field_of_a_record_is_in_one_group(client: Client, alice: User) -> None:
    sign_in(client, alice)
    form = client.get(f"{LIST}add/").context["form"]
    shown = [field.name for group in form.groups for field, _ in group.fields]
    assert sorted(shown) == sorted(name for name in form.fields if name != "revision")


# Import


def upload(client: Client, as_role: RoleSwitch, text: str) -> tuple[str, object]:
    """Return the address of the file's page, and that page when the worker has read the file."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    file = SimpleUploadedFile("keys.csv", text.encode())
    path = client.post(f"{LIST}import/", {"file": file, "reason": "moving in"})["Location"]
    assert "The file is being read." in words(client.get(path))
    return path, brought(client, as_role, path)


def test_preview_shows_new_changed_and_refused_and_writes_nothing(
    client: Client, alice: User, as_role: RoleSwitch
) -> None:
    sign_in(client, alice)
    make_key(name="known", owner=make_owner("ann", "ann@example.org"))
    _, shown = upload(
        client,
        as_role,
        "Name,Type,Current Key Owner,Environment,Creation Date,Colour\n"
        "known,API token,ben,production,2026-01-10,red\n"
        "fresh,SSH key,ben,staging,2026-02-01,blue\n"
        "odd,SSH key,ben,staging,the day after,green\n",
    )
    page = words(shown)
    assert "Confirming imports 1 new and changes 1 known key, all at once or not at all; 1 row stays out." in page
    assert "Owner ann ben" in page
    assert re.search(r"\b4 Creation date ", page)
    assert [column.header for column in shown.context["columns"] if not column.chosen] == ["Colour"]
    assert "Owners ben" in page
    assert "Import 1 new and 1 changed keys" in page
    assert list(Key.objects.values_list("name", flat=True)) == ["known"]


def test_confirmation_imports_what_was_shown(client: Client, alice: User, as_role: RoleSwitch) -> None:
    sign_in(client, alice)
    path, shown = upload(client, as_role, "Name,Type\nfresh,SSH key\n")
    answer = client.post(path, {"plan_digest": shown.context["plan"].digest}, follow=True)
    assert "The file is being imported" in words(answer)
    assert not Key.objects.exists()
    answer = brought(client, as_role, path)
    assert "keys.csv: 1 new, 0 changed, 0 unchanged, 0 refused." in words(answer)
    assert Key.objects.get().name == "fresh"
    draft = ImportDraft.objects.get()
    assert (draft.state, bytes(draft.content), draft.preview) == ("done", b"", {})


def test_confirmation_of_another_plan_shows_the_new_one(client: Client, alice: User, as_role: RoleSwitch) -> None:
    sign_in(client, alice)
    path, shown = upload(client, as_role, "Name,Type\nfresh,SSH key\n")
    make_key(name="fresh", kind="ssh_key")
    client.post(path, {"plan_digest": shown.context["plan"].digest})
    answer = brought(client, as_role, path)
    assert "The inventory has changed since this preview" in words(answer)
    assert "This file brings nothing new." in words(answer)


def test_preview_is_for_who_uploaded_it(client: Client, alice: User, bob: User, as_role: RoleSwitch) -> None:
    sign_in(client, alice)
    path, _ = upload(client, as_role, "Name,Type\nfresh,SSH key\n")
    client.logout()
    sign_in(client, bob)
    answer = client.get(path, follow=True)
    assert answer.redirect_chain == [("/inventory/key/import/", 302)]
    assert b"This preview is gone" in answer.content
    assert b"fresh" not in answer.content


# Navigation


def test_navigation_counts_what_is_late(client: Client, alice: User) -> None:
    make_key()
    sign_in(client, alice)
    reviews = {"reviews": 0, "open_reviews": 0, "to_sign": 0, "duties": 0, "open_duties": 0, "duties_to_sign": 0}
    counts = client.get("/inventory/owner/").context["nav_counts"]
    stores = {"jobs": 0, "orders_failed": 0}
    assert counts == {"late": 1, "critical": 0, "mail": 0, "votes": 0, **reviews, **stores}


def test_times_are_written_day_first_and_in_24_hours(client: Client, alice: User) -> None:
    with time_machine.travel(datetime(2026, 11, 21, 14, 5, tzinfo=UTC), tick=False):
        sign_in(client, alice)
        assert "21 Nov 2026, 14:05" in page_of(client, "/access/user/")
