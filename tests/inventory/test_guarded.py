"""What several people decide on is done by a request that is being carried out, and by nothing else."""

import pytest

from audit.actions import Action
from inventory.states import State
from tests.approving import permitted
from tests.inventory.world import event_for, make_key, set_state



@pytest.mark.django_db
def test_try():
    key = make_key()
    with permitted(Action.KEY_DESTROYED, key) as facts:
        set_state(key.versions.get(), State.DESTROYED, event_for(key, Action.KEY_DESTROYED, facts=facts))
