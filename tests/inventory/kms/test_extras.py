"""Stores whose packages are not installed: refused with the command that installs them, and nothing else suffers."""

import subprocess
import sys

import pytest

from inventory.kms import SCHEMES, backend_class
from inventory.kms.errors import AddressError

BLOCKED = {"pkcs11": "pkcs11", "azure": "azure.keyvault", "aws": "boto3"}


def test_a_store_whose_package_is_missing_says_how_to_install_it():
    code = (
        "import sys\n"
        f"for name in {[*BLOCKED.values(), 'azure', 'azure.identity']!r}: sys.modules[name] = None\n"
        "from inventory.kms import open_store\n"
        "from inventory.kms.base import parse_address\n"
        "from inventory.kms.errors import MissingExtraError\n"
        f"for scheme in {[*BLOCKED]!r}:\n"
        "    try: open_store(parse_address(scheme + '://host#name'))\n"
        "    except MissingExtraError as error: print(error)\n"
        "open_store(parse_address('local:///ring#name'), master_key=bytes(32))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        f"The packages for {scheme} key stores are not installed: uv sync --extra {scheme}" for scheme in BLOCKED
    ]


@pytest.mark.parametrize("scheme", ["gcp", "", "AWS", "pkcs11 "])
def test_a_scheme_that_nobody_knows_is_refused(scheme):
    with pytest.raises(AddressError, match="No key store has the scheme"):
        backend_class(scheme)


def test_every_scheme_has_its_class():
    assert {backend_class(scheme).scheme for scheme in SCHEMES} == {*SCHEMES}
