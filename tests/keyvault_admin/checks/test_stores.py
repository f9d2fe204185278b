"""The key stores that the settings name: read once, and looked at by doctor."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from inventory.custody import forget_stores
from inventory.kms.base import WrapAlgorithm, parse_address
from inventory.kms.errors import AddressError
from inventory.kms.local import LocalBackend
from keyvault_admin.checks import stores
from keyvault_admin.stores import needs_master_key, stores_named
from tests.keyvault_admin.test_headers import production

MASTER = bytes.fromhex("41c2a7e09b5d13f86472d0ab9ce83517fa06b1d4926e7850c3ef1d2a84b96d73")


@pytest.fixture(autouse=True)
def no_open_stores() -> Iterator[None]:
    forget_stores()
    yield
    forget_stores()


def test_stores_are_named_by_what_stands_behind_the_hash() -> None:
    text = " local:///ring#house\n  openbao://bao.internal:8200/transit?token_file=/run/secrets/bao#main\t"
    assert stores_named(text) == {
        "house": "local:///ring#house",
        "main": "openbao://bao.internal:8200/transit?token_file=/run/secrets/bao#main",
    }
    assert stores_named(" \n") == {}
    assert needs_master_key(stores_named(text)) == ["house"]


@pytest.mark.parametrize(
    "text",
    [
        "local:///ring",
        "local:///ring#",
        "local:///ring#a/b",
        "ftp://host/x#a",
        "/ring#a",
        "local:///a#a local:///b#a",
        "openbao://user:secret-of-nobody@host/transit#a",
        "openbao://host:port/transit#a",
        "openbao://[::1/transit#a",
        "openbao://host/transit?token_file#a",
    ],
)
def test_addresses_that_cannot_be_used_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(AddressError) as refused:
        stores_named(text)
    assert "secret-of-nobody" not in str(refused.value)
    assert "//" not in str(refused.value).replace("local:///ring#house", "")


def test_no_store_is_in_order() -> None:
    answer = stores.stores_can_be_used()
    assert (answer.said, answer.mend) == ("0 key stores are named.", "")


def test_a_local_ring_is_opened_where_the_master_key_is(settings: Settings, tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    ring.mkdir(mode=0o700)
    LocalBackend(parse_address(f"local://{ring}#house"), master_key=MASTER).create("main", WrapAlgorithm.AES_256_KW)
    settings.KMS_STORES = {"house": f"local://{ring}#house"}
    for key, mend in ((None, False), (MASTER, False), (bytes(32), True)):
        forget_stores()
        settings.MASTER_KEY = key
        assert bool(stores.stores_can_be_used().mend) is mend
    assert "does not open the key ring house" in stores.stores_can_be_used().said
    settings.MASTER_KEY = MASTER
    ring.chmod(0o755)
    forget_stores()
    assert "open to others" in stores.stores_can_be_used().said


def test_an_address_that_makes_no_sense_for_its_kind_is_said(settings: Settings) -> None:
    settings.KMS_STORES = {"house": "local://host/ring#house"}
    assert "local:///FOLDER#NAME" in stores.stores_can_be_used().said


def test_the_worker_reads_its_master_key_and_doctor_looks_at_it(tmp_path: Path) -> None:
    """The same settings, as the worker and as web: one holds the key, the other does not start with it."""
    ring, file = tmp_path / "ring", tmp_path / "master_key"
    ring.mkdir(mode=0o700)
    text = base64.b64encode(MASTER).decode()
    file.write_text(f"{text}\n")
    words = ("manage.py", "doctor", "--json", "--skip=database", "--skip=broker", "--skip=mail")
    named = {"KEYVAULT_KMS": f"local://{ring}#house", "KEYVAULT_ROLE": "worker"}
    done = production(*words, **named, KEYVAULT_MASTER_KEY_FILE=str(file))
    states = {check["id"]: check["state"] for check in json.loads(done.stdout)["checks"]}
    assert [states[name] for name in ("face.E035", "face.E036", "face.W015")] == ["ok"] * 3
    done = production(*words, **named, KEYVAULT_MASTER_KEY=text)
    states = {check["id"]: check["state"] for check in json.loads(done.stdout)["checks"]}
    assert [states[name] for name in ("face.E035", "face.E036", "face.W015")] == ["ok", "ok", "warning"]
    assert text not in done.stdout + done.stderr
