"""Asking, voting and carrying out, as people see them."""

import pytest

from rotation.models import RequestState
from tests.conftest import make_person
from tests.inventory.world import events_of, make_key, seal
from tests.rotation.approval_world import again, ask, carry_out, declared, vote

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _operations():
    with declared():
        yield


def test_two_votes_of_two_roles_and_it_is_done_once(db, as_role, alice, bob, carol):
    anna = make_person("anna", "Security")
    key = make_key()
    request = ask(anna, key)
    assert request.state == RequestState.OPEN
    vote(alice, request)
    assert again(request).state == RequestState.OPEN
    vote(bob, request)
    assert again(request).state == RequestState.APPROVED
    with as_role("worker"):
        assert carry_out(request).state == RequestState.EXECUTED
        assert carry_out(request).state == RequestState.EXECUTED
    key.refresh_from_db()
    assert key.notes == "new"
    seal()
    (event,) = events_of("request.executed")
    assert event.said.facts["approved_by"] == [alice.ref, bob.ref]
