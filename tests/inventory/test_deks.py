"""DEKs: made, handed out, rotated, confirmed, cleared; and what is refused on the way."""

import pytest

from audit.actions import Action
from inventory.models import DekVersion, Wrapping
from inventory.services import deks
from tests.inventory.dek_world import make_scope, make_world, use_local_store
from tests.inventory.world import ACTOR, NOW, seal, told_of

HOW = {"actor": ACTOR, "reason": "test", "now": NOW}


@pytest.fixture
def world(db, settings, tmp_path):
    use_local_store(settings, tmp_path)
    return make_world()


def test_a_dek_is_made_with_its_version_wrapping_and_events(world, as_role):
    key = world.dek(secret_name="", **make_scope())
    seal()
    assert told_of(key) == [Action.KEY_REGISTERED, Action.DEK_CREATED]
    (version,) = DekVersion.objects.filter(key=key)
    assert (version.number, version.version.state, key.state) == (1, "active", "active")
    assert key.name == "dek/acme/crm"
    with as_role("worker"):
        (wrapping,) = Wrapping.objects.filter(dek_version=version)
        assert wrapping.kek_version_id == world.versions[0].pk
        scanned = deks.open_stretch(world.versions[0])
    assert (scanned.opened, scanned.misfits, scanned.last) == (1, [], None)
