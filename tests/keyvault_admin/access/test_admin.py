import re

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from keyvault_admin.access.models import User
from tests.conftest import make_person
from tests.people import give_device, sign_in


def test_people_are_listed_with_roles_and_second_factor(client: Client, dave: User, carol: User) -> None:
    sign_in(client, dave)
    page = client.get("/access/user/").content.decode()
    for text in ("carol@example.org", "Engineering", "Carol Example"):
        assert text in page
    assert "argon2" not in page
    assert "add/" not in page


def test_list_costs_the_same_for_many_people(client: Client, dave: User) -> None:
    sign_in(client, dave)
    costs = []
    for batch in range(2):
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/access/user/").status_code == 200
        costs.append(len(queries))
        for number in range(15):
            give_device(make_person(f"p{batch}-{number}", "Engineering", "DevOps"))
    assert costs[0] == costs[1]


def test_page_of_a_person_changes_nothing(client: Client, alice: User, carol: User) -> None:
    sign_in(client, alice)
    address = f"/access/user/{carol.pk}/change/"
    page = client.get(address).content.decode()
    assert "carol@example.org" in page
    assert "argon2" not in page
    assert not re.search(r'<input[^>]+name="(?!csrf|next|q)', page)
    before = User.objects.filter(pk=carol.pk).values().get()
    forged = {"username": "x", "is_superuser": "on", "is_active": "", "groups": "1", "password": "x", "_save": "Save"}
    assert client.post(address, forged).status_code == 403
    assert User.objects.filter(pk=carol.pk).values().get() == before
    for gone in ("/access/user/add/", f"/access/user/{carol.pk}/delete/", "/auth/group/", "/auth/group/1/change/"):
        assert client.get(gone).status_code in {403, 404}, gone
        assert client.post(gone, forged).status_code in {403, 404}, gone
    assert client.get(f"/access/user/{carol.pk}/history/").status_code == 404


def test_people_are_seen_by_those_who_may(client: Client, bob: User) -> None:
    sign_in(client, bob)
    assert client.get("/access/user/").status_code == 403
