"""Another database, and a KEK in a ring of the test."""

import pytest

from inventory.custody import forget_stores
from tests.rotation.sources.elsewhere import elsewhere, house, other_database


@pytest.fixture(scope="session")
def their_database():
    with other_database() as name:
        yield name


@pytest.fixture
def other(their_database, settings, tmp_path):
    folder = tmp_path / "passwords"
    folder.mkdir()
    with elsewhere(their_database, settings, folder) as made:
        yield made


@pytest.fixture
def ring(settings, tmp_path):
    house(settings, tmp_path)
    yield
    forget_stores()
