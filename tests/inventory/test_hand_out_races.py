"""Handing out and confirming at once: whoever holds a copy is waited for, in whichever order they come."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from inventory.models import HandOut
from inventory.services import deks
from tests.approving import as_worker
from tests.inventory.dek_world import ACTOR, NOW, make_service, make_world, use_local_store

HOW = {"actor": ACTOR, "reason": "test", "now": NOW}


@pytest.fixture
def handed(committed_db, settings, tmp_path):
    """A DEK, a service, and the copy that it was given."""
    use_local_store(settings, tmp_path)
    world = make_world()
    key, service = world.dek("smtp"), make_service()
    with as_worker():
        yield key, service, deks.hand_out(dek=key.pk, service=service, **HOW).hand_out


def _alone(act):
    try:
        return act()
    finally:
        connection.close()


def test_a_copy_that_is_given_while_the_one_before_is_confirmed_is_waited_for(handed):
    key, service, first = handed
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            deks.confirm_hand_out(pk=first.pk, **HOW)
            again = pool.submit(_alone, lambda: deks.hand_out(dek=key.pk, service=service, **HOW).hand_out)
            with pytest.raises(TimeoutError):
                again.result(timeout=1)  # it waits for who confirms
        second = again.result(timeout=20)
    assert second.pk != first.pk
    assert list(HandOut.objects.filter(confirmed_at=None).values_list("pk", flat=True)) == [second.pk]


def test_a_copy_is_not_confirmed_while_it_is_given_once_more(handed):
    key, service, first = handed
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert deks.hand_out(dek=key.pk, service=service, **HOW).hand_out == first
            confirmed = pool.submit(_alone, lambda: deks.confirm_hand_out(pk=first.pk, **HOW))
            with pytest.raises(TimeoutError):
                confirmed.result(timeout=1)
        assert confirmed.result(timeout=20).pk == first.pk
