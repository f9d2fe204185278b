"""The pages of people: what Security does on them, and that no forged request raises anybody's rights (AZ-01 … 07)."""

import re
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, timedelta

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from inventory.models import Key
from inventory.states import State
from keyvault_admin.access import services
from keyvault_admin.access.errors import RoleError
from keyvault_admin.access.models import EnrolmentLink, QuorumReview, TotpDevice, User
from keyvault_admin.access.roles import Role
from keyvault_admin.access.views import people
from rotation.models import Digest
from tests.conftest import PASSWORD, make_person
from tests.inventory.world import make_key, make_owner, seal
from tests.keyvault_admin.access.test_services import actions, bodies
from tests.people import give_device, next_code, sign_in

AsRole = Callable[[str], AbstractContextManager[None]]
LIST = "/access/user/"
ACTS = ("edit", "link", "last-day", "take-role", "deactivate")
# What somebody would send along who has read Django's source. 40 and more, none of which a form of ours knows.
FORGED = {
    **dict.fromkeys(("is_superuser", "is_staff", "is_active", "superuser", "staff", "admin", "verified"), "on"),
    **dict.fromkeys(("groups", "groups_1", "id_groups", "role_names", "user_permissions", "permissions"), "1"),
    **dict.fromkeys(("password", "password1", "password2", "usable_password", "set_password"), "correct horse battery"),
    **dict.fromkeys(("id", "pk", "user", "user_id", "_selected_action", "object_id", "_to_field", "_popup"), "1"),
    **dict.fromkeys(("_save", "_continue", "_addanother", "_saveasnew", "action", "select_across", "post"), "1"),
    **dict.fromkeys(("last_login", "date_joined", "created_at", "confirmed_at"), "2001-01-01"),
    **dict.fromkeys(("totp_devices-TOTAL_FORMS", "totp_devices-INITIAL_FORMS", "form-TOTAL_FORMS"), "3"),
    **dict.fromkeys(("groups-0-id", "form-0-id", "totp_devices-0-confirmed", "totp_devices-0-DELETE"), "1"),
}
FACTS = ("username", "password", "is_superuser", "is_active", "last_login", "date_joined", "ends_on")


def words(answer: object) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).replace("&#x27;", "'").split())


def rights() -> list[object]:
    """Everything about everybody that says what they may do."""
    people = User.objects.order_by("pk").values("pk", *[name for name in FACTS if name != "last_login"])
    return [
        *people,
        *User.groups.through.objects.order_by("pk").values(),
        *User.user_permissions.through.objects.order_by("pk").values(),
        *TotpDevice.objects.order_by("pk").values_list("pk", "confirmed", "user_id"),
    ]


# What Security does


def test_security_adds_somebody_and_hands_over_a_link(client: Client, alice: User) -> None:
    sign_in(client, alice)
    entered = {"username": " Frances ", "full_name": "Frances Doe", "mail": "Frances@Example.org"}
    answer = client.post(f"{LIST}add/", entered, follow=True)
    person = User.objects.get(username="frances")
    assert "Frances Doe is registered. Issue a link" in words(answer)
    assert "cannot sign in" in words(answer)
    address = f"{LIST}{person.pk}/link/"
    assert "Issue the link" in words(client.get(address))
    assert not EnrolmentLink.objects.exists()
    shown = client.post(address)
    link = re.search(r"https?://[^<]+/enrol/#([A-Za-z0-9_-]{43})", shown.content.decode())
    assert link
    assert shown["Cache-Control"] == "no-store"
    assert shown.status_code == 200, "an answer to the POST itself: no address ever leads to it"
    seal()
    for place in (client.get(address), client.get(f"{LIST}{person.pk}/change/"), client.get("/audit/event/")):
        assert link[1] not in place.content.decode()
    assert link[1] not in "".join([*bodies(), Digest.objects.get().text, Digest.objects.get().html])


@pytest.mark.parametrize(
    ("entered", "answer"),
    [
        ({"username": "al ice", "mail": "x@example.org", "full_name": "x"}, "A user name has at most 64"),
        ({"username": "frances", "mail": "nonsense", "full_name": "x"}, "This is no mail address"),
        ({"username": "ALICE", "mail": "x@example.org", "full_name": "x"}, "Somebody already has this name"),
        ({"username": "frances", "mail": "Alice@example.org", "full_name": "x"}, "Somebody already has this name"),
        ({"username": ""}, "Mend what is marked below"),
    ],
)
def test_a_refused_person_is_not_added(client: Client, alice: User, entered: dict[str, str], answer: str) -> None:
    sign_in(client, alice)
    assert answer in words(client.post(f"{LIST}add/", entered))
    assert User.objects.count() == 1


def test_security_edits_limits_and_ends_an_account(client: Client, alice: User, dave: User) -> None:
    sign_in(client, alice)
    page, until = f"{LIST}{dave.pk}/", timezone.now().date() + timedelta(days=9)
    assert "An auditor from outside should have one." in words(client.get(f"{page}change/"))
    client.post(f"{page}edit/", {"full_name": "David", "mail": "david@example.org", "reason": "married"})
    client.post(f"{page}last-day/", {"ends_on": until.isoformat(), "reason": "until the report"})
    dave.refresh_from_db()
    assert (str(dave), dave.email, dave.ends_on) == ("David", "david@example.org", until)
    seal()
    shown = words(client.get(f"{page}change/"))
    assert "Alice Example set the last day of David : “until the report”" in shown.replace("David:", "David :")
    assert f"{until:%-d} {until:%B %Y}" in shown
    client.post(f"{page}take-role/", {"role": "Auditor", "reason": "done"})
    client.post(f"{page}deactivate/", {"reason": "left"})
    dave = User.objects.get(pk=dave.pk)
    assert (dave.is_active, dave.role_names) == (False, ())
    assert "Ask to let them back in" in words(client.get(f"{page}change/"))
    assert actions()[-4:] == ["person.edited", "person.end_set", "role.revoked", "person.deactivated"]


def test_the_last_of_a_role_stays_and_the_attempt_is_recorded(client: Client, alice: User, bob: User) -> None:
    sign_in(client, alice)
    give_device(bob)
    answer = client.post(f"{LIST}{bob.pk}/deactivate/", {"reason": "x"})
    assert "nobody of DevOps would be left who can vote" in words(answer)
    answer = client.post(f"{LIST}{bob.pk}/take-role/", {"reason": "x", "role": "DevOps"})
    assert "nobody of DevOps would be left who can vote" in words(answer)
    answer = client.post(f"{LIST}{alice.pk}/deactivate/", {"reason": "x"})
    assert "Nobody deactivates their own account" in words(answer)
    assert User.objects.filter(is_active=True).count() == 2
    assert actions()[-3:] == ["person.deactivated", "role.revoked", "person.deactivated"]
    assert all('"outcome":"refused"' in body for body in bodies()[-3:])


def test_what_the_page_offers_is_what_may_be_done(client: Client, alice: User, carol: User, dave: User) -> None:
    sign_in(client, alice)

    def offered(person: User) -> set[str]:
        page = client.get(f"{LIST}{person.pk}/change/").content.decode()
        return set(re.findall(r'<a class="button[^"]*" href="[^"]+">([^<]+)</a>', page))

    assert offered(carol) == {"Issue a link", "Edit", "Set the last day", "Take a role away", "Deactivate"}
    give_device(carol)
    assert "Issue a link" not in offered(carol)
    assert offered(alice) == {"Edit", "Take a role away"}
    services.deactivate_person(person=carol, actor=people_actor(alice), reason="x", now=timezone.now())
    assert offered(carol) == {"Take a role away"}
    client.logout()
    sign_in(client, dave)
    assert offered(carol) == set()
    assert "Security keeps the people" in words(client.get(f"{LIST}{carol.pk}/change/"))


def people_actor(person: User) -> object:
    from audit.actor import Actor

    return Actor(kind="person", id=person.ref, role=person.role)


def test_a_person_shows_the_keys_they_own(client: Client, alice: User, carol: User) -> None:
    owner = make_owner("carol", carol.email, user_id=carol.pk)
    make_key(owner=owner)
    sign_in(client, alice)
    page = client.get(f"{LIST}{carol.pk}/change/").content.decode()
    assert f'href="/inventory/key/?owner={owner.pk}">1</a>' in page
    assert "argon2" not in page


def test_the_list_filters_by_standing_and_factor(client: Client, alice: User, carol: User, dave: User) -> None:
    User.objects.filter(pk=dave.pk).update(ends_on=date(2030, 1, 1))
    sign_in(client, alice)

    def found(query: str) -> set[str]:
        return {person.username for person in client.get(f"{LIST}?{query}").context["cl"].result_list}

    assert found("factor=yes") == {"alice"}
    assert found("factor=no") == {"carol", "dave"}
    assert found("standing=limited") == {"dave"}
    assert found("standing=deactivated") == set()
    assert "Nothing matches" in words(client.get(f"{LIST}?standing=deactivated"))
    assert found("standing=active&factor=yes") == {"alice"}


def test_roles_page_names_every_permission_once(client: Client, dave: User, bob: User) -> None:
    from keyvault_admin.access.roles import MATRIX, PERMISSIONS
    from keyvault_admin.access.wording import TOPICS

    sign_in(client, dave)
    page = client.get(f"{LIST}roles/")
    rows = [may for _, lines in page.context["topics"] for _, may in lines]
    assert len(rows) == len(PERMISSIONS)
    assert [sum(column) for column in zip(*rows, strict=True)] == [len(MATRIX[role]) for role in Role]
    assert "Other" not in dict(page.context["topics"]), "say it in plain words in access/wording.py"
    assert {code for _, lines in TOPICS for code, _ in lines} == set(PERMISSIONS)
    for _, _, count, group in page.context["roles"]:
        listed = client.get(f"{LIST}?groups__id__exact={group}&standing=active&factor=yes")
        assert listed.context["cl"].result_count == count


def test_every_act_declares_that_it_needs_a_fresh_factor() -> None:
    for act in (people.add, people.edit, people.end_date, people.deactivate, people.revoke_role, people.issue_link):
        assert act.requires_step_up is True
    from tests.routes import routes

    doors = {route.name: route.view for route in routes()}
    for name in ("add", "edit", "link", "last_day", "take_role", "deactivate", "quorum_review"):
        assert doors[f"admin:access_user_{name}"].requires_step_up is True


def test_pages_of_people_want_the_token_of_their_form(alice: User, carol: User) -> None:
    client = Client(enforce_csrf_checks=True)
    device = give_device(alice)
    client.get("/login/")
    token = client.cookies["csrftoken" if "csrftoken" in client.cookies else "__Host-csrftoken"].value
    signed = {"username": "alice", "password": PASSWORD, "code": next_code(device), "csrfmiddlewaretoken": token}
    assert client.post("/login/", signed).status_code == 302
    before = rights()
    for act in ACTS:
        assert client.post(f"{LIST}{carol.pk}/{act}/", {"reason": "x"}).status_code == 403
    assert rights() == before


# AZ-01, AZ-04 … AZ-06: forged fields


def test_forty_forged_fields_change_none_of_them(client: Client, alice: User, carol: User, bob: User) -> None:
    assert len(FORGED) >= 40
    sign_in(client, alice)
    before = rights()
    for act in ("edit", "last-day", "take-role"):
        client.post(f"{LIST}{carol.pk}/{act}/", FORGED)
        client.post(f"{LIST}{alice.pk}/{act}/", FORGED)
    client.post(f"{LIST}{carol.pk}/change/", FORGED)
    assert rights() == before
    own = {"full_name": "Alice", "mail": "alice@example.org", "reason": "x"}
    assert client.post(f"{LIST}{alice.pk}/edit/", FORGED | own).status_code == 302
    assert rights() == before, "the edit itself went through, the rest was dropped"
    new = {"username": "newcomer", "full_name": "x", "mail": "new@example.org"}
    assert client.post(f"{LIST}add/", FORGED | new).status_code == 302
    person = User.objects.get(username="newcomer")
    assert (person.is_superuser, person.is_active, person.has_usable_password()) == (False, True, False)
    assert (person.last_login, person.date_joined.year, person.role_names) == (None, timezone.now().year, ())
    assert not person.user_permissions.exists()
    assert not person.totp_devices.exists()


def test_people_without_the_right_change_nobody(client: Client, alice: User, carol: User) -> None:
    for role in ("DevOps", "Engineering", "Management", "Auditor"):
        person = make_person(role.lower(), role)
        sign_in(client, person)
        before = rights()
        for target in (carol, person):
            for act in ACTS:
                path = f"{LIST}{target.pk}/{act}/"
                assert client.get(path).status_code == 403, path
                assert client.post(path, FORGED | {"reason": "x", "role": role}).status_code == 403, path
        assert client.post(f"{LIST}add/", FORGED).status_code == 403
        assert client.get(f"{LIST}99999999/edit/").status_code == 403, "who is not there looks like who is"
        assert rights() == before
        client.logout()


@pytest.mark.parametrize("query", ["_popup=1", "_to_field=password", "_to_field=id&_popup=1", "password=x", "e=1"])
def test_popups_and_foreign_fields_show_no_hash_and_no_form(client: Client, alice: User, query: str) -> None:
    sign_in(client, alice)
    for path in (LIST, f"{LIST}{alice.pk}/change/", f"{LIST}add/"):
        answer = client.get(f"{path}?{query}")
        assert answer.status_code in {200, 302, 400}, (path, query)
        assert "argon2" not in answer.content.decode()
        assert 'name="is_superuser"' not in answer.content.decode()


@pytest.mark.parametrize("lookup", ["password__startswith", "is_superuser", "totp_devices__sealed_seed__contains",
                                    "user_permissions__id", "groups__permissions__codename"])  # fmt: skip
def test_the_address_filters_by_nothing_secret(client: Client, alice: User, lookup: str) -> None:
    sign_in(client, alice)
    answer = client.get(LIST, {lookup: "argon2"})
    assert answer.status_code in {302, 400}


@pytest.mark.parametrize("path", ["/inventory/owner/?user__password__startswith=a",
                                  "/inventory/owner/?user__is_superuser=1"])  # fmt: skip
def test_other_lists_tell_nothing_of_people_either(client: Client, dave: User, path: str) -> None:
    sign_in(client, dave)
    assert client.get(path).status_code in {302, 400}


def test_autocomplete_and_raw_ids_lead_nowhere(client: Client, alice: User, bob: User) -> None:
    sign_in(client, alice)
    asked = {"term": "bob", "app_label": "inventory", "model_name": "owner", "field_name": "user"}
    (found,) = client.get("/autocomplete/", asked | {"to_field": "password"}).json()["results"]
    assert found == {"id": str(bob.pk), "text": "Bob Example"}, "who sees people sees their names, and no more"
    for wrong in ({"field_name": "groups", "model_name": "user", "app_label": "access"}, {"field_name": "password"}):
        assert client.get("/autocomplete/", asked | wrong).status_code == 403
    client.logout()
    sign_in(client, bob)
    assert client.get("/autocomplete/", asked).status_code == 403
    for model_admin in admin.site._registry.values():
        assert not model_admin.raw_id_fields
        assert not model_admin.autocomplete_fields
        assert not model_admin.inlines
        assert not model_admin.list_editable


# AZ-03: bulk


@pytest.mark.parametrize("action", ["delete_selected", "suspend", "activate_all", "__class__", "deactivate_person", ""])
def test_forged_bulk_actions_change_nothing(client: Client, alice: User, carol: User, action: str) -> None:
    key = make_key()
    sign_in(client, alice)
    seal()
    counts = [model.objects.count() for model in (User, Key)]
    before = rights()
    for name, pks in (("access_user", [alice.pk, carol.pk]), ("inventory_key", [key.pk]), ("inventory_owner", [1])):
        content = {"action": action, "_selected_action": pks, "select_across": "1", "index": "0", "post": "yes"}
        content |= {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "0", "form-0-name": "x", "_save": "Save"}
        assert client.post(reverse(f"admin:{name}_changelist"), content).status_code in {200, 302, 403}
    assert [model.objects.count() for model in (User, Key)] == counts
    assert rights() == before
    key.refresh_from_db()
    assert key.state == State.ACTIVE


# AZ-07: names of roles and privileges

VARIANTS = [
    "security", "SECURITY", "SeCurity", " Security", "Security ", "Security\t", "\u00a0Security", "Security\u200b",
    "Sec\u00adurity", "Securit\u0443", "\uff33ecurity", "Secur\u0131ty", "S\u0435curity", "Security\x00", "Security\n",
    "Security+DevOps", "Security,DevOps", "root", "superuser", "Administrators", "\u017fecurity", "Secu\u200drity",
    unicodedata.normalize("NFD", "Sécurity"), "1", "Security%00", "*",
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_role_is_known_by_its_exact_name_alone(
    client: Client, alice: User, carol: User, as_role: AsRole, variant: str
) -> None:
    from django.core.management import CommandError, call_command

    with pytest.raises(ValueError, match="is not a valid Role"):
        Role(variant)
    sign_in(client, alice)
    give_device(make_person("second", "Security"))
    before = rights()
    answer = client.post(f"{LIST}{alice.pk}/take-role/", {"role": variant, "reason": "x"})
    assert answer.status_code in {200, 400}
    with as_role("command"), pytest.raises((CommandError, SystemExit, RoleError)):
        call_command("grant_role", "carol", variant, "--reason", "x")
    assert rights() == before
    assert not carol.has_perm(variant)
    for code in ("access.MANAGE_PEOPLE", "Access.manage_people", " access.manage_people", "access.manage_people "):
        assert not alice.has_perm(code)


# Superuser, and the end of an account


def test_being_superuser_opens_nothing(client: Client, mallory: User, carol: User, as_role: AsRole) -> None:
    with as_role("command"):
        User.objects.filter(pk__in=[mallory.pk, carol.pk]).update(is_superuser=True)
    for person in (User.objects.get(pk=mallory.pk), User.objects.get(pk=carol.pk)):
        plain = User.objects.get(pk=person.pk)
        plain.is_superuser = False
        assert person.get_all_permissions() == plain.get_all_permissions()
        for code in ("access.manage_people", "audit.view_event", "inventory.import_keys", "no.such_permission"):
            assert not person.has_perm(code)
        assert not person.has_module_perms("auth")
    sign_in(client, mallory)
    assert client.get("/").status_code == 302
    client.logout()
    sign_in(client, carol)
    assert client.get(LIST).status_code == 403
    assert client.get("/audit/event/").status_code == 403


def test_a_permission_given_directly_counts_for_nothing(carol: User) -> None:
    from django.contrib.auth.models import Permission
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET SESSION AUTHORIZATION keyvault_migrator")
        cursor.execute("SET ROLE keyvault_owner")
        cursor.execute(
            "INSERT INTO access_user_user_permissions (user_id, permission_id) VALUES (%s, %s)",
            [carol.pk, Permission.objects.get(codename="manage_people").pk],
        )
        cursor.execute("SET SESSION AUTHORIZATION keyvault_web")
    assert not User.objects.get(pk=carol.pk).has_perm("access.manage_people")


def test_an_account_past_its_last_day_is_out_before_any_beat(client: Client, dave: User, as_role: AsRole) -> None:
    device = sign_in(client, dave)
    assert client.get("/").status_code == 200
    User.objects.filter(pk=dave.pk).update(ends_on=timezone.now().date() - timedelta(days=1))
    assert client.get("/").status_code == 302
    entered = {"username": "dave", "password": PASSWORD, "code": next_code(device)}
    answer = Client().post("/login/", entered)
    assert answer.status_code == 200
    assert "do not go together" in words(answer)
    with as_role("migrator"):  # nobody who logs in brings an account back
        User.objects.filter(pk=dave.pk).update(ends_on=timezone.now().date())
    assert client.get("/").status_code == 200, "the last day itself counts"


# A restored quorum on the first page


def test_a_restored_quorum_stands_on_the_first_page_until_somebody_else_looked(
    client: Client, alice: User, bob: User, dave: User, as_role: AsRole
) -> None:
    with as_role("command"):
        review = QuorumReview.objects.create(
            person=alice, role="Security", reason="everybody left", restored_at=timezone.now()
        )
    address = f"{LIST}quorum-review/{review.pk}/"
    sign_in(client, dave)
    assert "The quorum was restored by one person." in words(client.get("/"))
    assert client.post(address, {"comment": "x"}).status_code == 403
    client.logout()
    sign_in(client, alice)
    assert "Acknowledge" not in words(client.get(address))
    assert "You got the role yourself" in words(client.post(address, {"comment": "x"}))
    client.logout()
    second = make_person("second", "Security")
    sign_in(client, second)
    assert "Nothing was acknowledged" in words(client.post(address, {"comment": " "}))
    answer = client.post(address, {"comment": "I asked the two who left"}, follow=True)
    assert "Acknowledged" in words(answer)
    assert "The quorum was restored" not in words(answer)
    assert "I asked the two who left" in words(client.get(address))
    assert actions().count("quorum.reviewed") == 2, "one of them the refusal"
