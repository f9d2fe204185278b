"""dek.rotate from the question to the new version, and what stands in its way."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.actions import Action
from inventory.errors import NotAllowedNowError
from inventory.guarded.suspending import suspend_key
from inventory.models import DekVersion
from inventory.services import deks
from rotation.errors import NotAskingError, OrderWaitsError, WrongParametersError
from rotation.models import Order, OrderState
from rotation.orders import carry_out_due
from tests.approving import as_worker, carried_through
from tests.conftest import make_person
from tests.inventory.dek_world import make_world, use_local_store
from tests.inventory.world import ACTOR, seal, told_of
from tests.rotation.approval_world import WORKER


@pytest.fixture
def world(db, settings, tmp_path):
    use_local_store(settings, tmp_path)
    return make_world()


@pytest.fixture
def erin(db):
    return make_person("erin", "Engineering")


def rotate(key, erin, bob):
    return carried_through("dek.rotate", {"key": key.pk}, asker=erin, by=(bob,))


def test_a_dek_is_rotated_by_an_order_after_one_vote_of_devops(world, erin, bob):
    key = world.dek("smtp")
    request = rotate(key, erin, bob)
    assert request.state == "executed", request.closed_because
    assert DekVersion.objects.filter(key=key).count() == 1
    with as_worker():
        assert carry_out_due(actor=WORKER, now=timezone.now() + timedelta(minutes=5)) == 1
    order = Order.objects.get()
    assert order.state == OrderState.DONE, order.closed_because
    key.refresh_from_db()
    assert (key.current_number, DekVersion.objects.filter(key=key).count()) == (2, 2)
    with as_worker():
        assert deks.open_stretch(world.versions[0]).opened == 2
    seal()
    told = told_of(key)
    assert told.index(Action.ORDER_OPENED) < told.index(Action.KEY_ROTATED) < told.index(Action.ORDER_DONE)


def test_what_is_no_dek_or_not_in_use_or_busy_is_not_rotated(world, erin, bob, mallory):
    key = world.dek("smtp")
    with pytest.raises(NotAskingError):
        rotate(key, mallory, bob)
    with pytest.raises(WrongParametersError):
        rotate(world.kek.key, erin, bob)
    rotate(key, erin, bob)
    with pytest.raises(OrderWaitsError):
        rotate(key, erin, bob)
    other = world.dek("ftp")
    suspend_key(pk=other.pk, actor=ACTOR, reason="odd", now=timezone.now())
    with pytest.raises(NotAllowedNowError, match="suspended, so it may not be rotated"):
        rotate(other, erin, bob)
