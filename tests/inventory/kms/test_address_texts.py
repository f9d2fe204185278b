"""Addresses that cannot be read: what is wrong is said; what stands in them is not, in no traceback either."""

import traceback

import pytest

from inventory.kms import open_store
from inventory.kms.base import parse_address
from inventory.kms.errors import AddressError

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "address",
    [
        f"openbao://admin:{SECRET}/x@bao.internal:8200/transit#main",
        f"openbao://bao.internal:{SECRET}/transit#main",
        f"openbao://bao.internal:8200/transit?{SECRET}#main",
        f"openbao://admin:{SECRET}@bao.internal:8200/transit#main",
        f"openbao://[{SECRET}]/transit#main",
        f"aws://eu-central-1?credentials_file=/x&endpoint=https://kms:{SECRET}/y@h#main",
        f"aws://eu-central-1?credentials_file=/x&endpoint=https://kms:{SECRET}@h#main",
    ],
)
def test_an_address_is_refused_without_a_word_of_it(address):
    with pytest.raises(AddressError) as refused:
        open_store(parse_address(address), master_key=None)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
