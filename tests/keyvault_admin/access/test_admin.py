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
    assert "/access/user/add/" not in page


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


def test_people_are_seen_by_those_who_may(client: Client, bob: User) -> None:
    sign_in(client, bob)
    assert client.get("/access/user/").status_code == 403
