"""KMS-11: what transit does on the real server, by the policy of the manual: sealed, killed, revoked, set too high."""

import secrets
from collections.abc import Iterator

import pytest

from inventory.kms.base import ToOpen, ToWrap, VersionStatus, WrapAlgorithm
from inventory.kms.calls import Breaker, Caller, Manners
from inventory.kms.errors import (
    DeniedError,
    NoSuchKeyError,
    NotCapableError,
    NotUsableError,
    Refused,
    UnavailableError,
)
from inventory.kms.openbao import MOST_ITEMS, OpenBaoBackend
from inventory.kms.transit import new_key
from tests.bao import Bao, bao, missing
from tests.inventory.kms.conftest import deks

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
QUICK = Manners(first_wait=0.001, failures=1000)


def contexts(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(count)]


def items(blobs: list[bytes]) -> list[ToOpen]:
    return [ToOpen(ciphertext=blob, context=context) for blob, context in zip(blobs, contexts(len(blobs)), strict=True)]


def wrap(backend: OpenBaoBackend, key: str, version: str, drawn: list[bytearray]) -> list[bytes]:
    bound = zip(drawn, contexts(len(drawn)), strict=True)
    return backend.wrap(key, version, [ToWrap(dek=dek, context=context) for dek, context in bound])


@pytest.fixture
def server() -> Bao:
    return bao()


@pytest.fixture
def backend(server: Bao) -> Iterator[OpenBaoBackend]:
    opened = OpenBaoBackend(server.store(), caller=Caller(breaker=Breaker("suite", manners=QUICK), manners=QUICK))
    yield opened
    opened.close()


@pytest.fixture
def key(backend: OpenBaoBackend) -> str:
    """A KEK of two versions."""
    name = f"kms-11-{secrets.token_hex(4)}"
    backend.create(name, WrapAlgorithm.AES_256_GCM96)
    backend.rotate(name)
    return name


def test_a_thousand_rewraps_survive_a_seal_and_a_kill(server: Bao, backend: OpenBaoBackend, key: str) -> None:
    drawn = deks(1000)
    old = wrap(backend, key, "1", drawn)
    new: list[bytes] = []

    def go_on_to(end: int) -> None:
        while len(new) < end:
            part = slice(len(new), min(len(new) + 100, end))
            new.extend(backend.rewrap(key, "1", "2", items(old)[part]))

    def cannot_go_on() -> None:
        with pytest.raises(UnavailableError):
            go_on_to(1000)
        with pytest.raises(UnavailableError):
            backend.describe(key)

    go_on_to(300)
    server.seal()
    cannot_go_on()
    server.unseal()
    go_on_to(600)
    server.kill()
    cannot_go_on()
    server.start()
    go_on_to(1000)

    assert all(blob.startswith(b"vault:v2:") for blob in new)
    assert backend.unwrap(key, "2", items(new)) == drawn
    assert backend.unwrap(key, "1", items(old)) == drawn
    swapped = [ToOpen(ciphertext=blob, context=context) for blob, context in zip(new, contexts(1001)[1:], strict=True)]
    assert backend.unwrap(key, "2", swapped) == [Refused("altered")] * 1000


def test_batches_are_as_large_as_the_server_takes_and_no_larger(backend: OpenBaoBackend, key: str) -> None:
    drawn = deks(MOST_ITEMS * 2)
    blobs = wrap(backend, key, "1", drawn)
    assert backend.unwrap(key, "1", items(blobs)) == drawn
    backend.rewrap(key, "1", "2", items(blobs))
    assert backend._most_strings == 1000, "a batch was refused"
    backend._most_strings = 1000 + 7
    assert len(wrap(backend, key, "1", drawn)) == len(drawn)
    assert backend._most_strings < 1000, "a batch of one more was not"


def test_a_revoked_token_is_denied_until_another_one_lies_there(server: Bao, key: str) -> None:
    token = server.new_token()
    file = server.token_file(token)
    backend = OpenBaoBackend(server.store(file))
    blobs = wrap(backend, key, "2", drawn := deks(3))
    server.ask("POST", "auth/token/revoke", {"token": token})
    for call in (lambda: backend.describe(key), lambda: backend.unwrap(key, "2", items(blobs))):
        with pytest.raises(DeniedError) as caught:
            call()
        assert token not in repr(caught.value)
    file.write_text(server.new_token())
    assert backend.unwrap(key, "2", items(blobs)) == drawn
    backend.close()


def test_a_smallest_version_that_is_raised_too_early_shows(server: Bao, backend: OpenBaoBackend, key: str) -> None:
    """Somebody else raises it, while DEKs are under the older version still."""
    old = wrap(backend, key, "1", drawn := deks(3))
    server.ask("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
    assert backend.describe(key).version("1").status is VersionStatus.DISABLED
    for call in (
        lambda: backend.unwrap(key, "1", items(old)),
        lambda: backend.rewrap(key, "1", "2", items(old)),
        lambda: wrap(backend, key, "1", drawn),
    ):
        with pytest.raises(NotUsableError):
            call()
    backend.enable(key, "1")
    assert backend.unwrap(key, "1", items(old)) == drawn


def test_disabling_and_destroying_reach_everything_before(backend: OpenBaoBackend, key: str) -> None:
    for _version in range(2):
        backend.rotate(key)
    blobs = {version: wrap(backend, key, version, deks(1)) for version in "1234"}

    def statuses() -> str:
        return "".join(version.status.name[0] for version in backend.describe(key).versions)

    backend.disable(key, "2")
    assert statuses() == "DDEE"
    backend.disable(key, "1")  # is already
    assert statuses() == "DDEE"
    backend.purge(key, "1")
    assert statuses() == "GDEE"
    backend.enable(key, "2")
    assert statuses() == "GEEE"
    backend.purge(key, "3")
    assert statuses() == "GGGE"
    for version in "123":
        with pytest.raises(NoSuchKeyError):
            backend.unwrap(key, version, items(blobs[version]))
        with pytest.raises(NoSuchKeyError):
            backend.enable(key, version)
    assert all(type(dek) is bytearray for dek in backend.unwrap(key, "4", items(blobs["4"])))
    backend.rotate(key)
    backend.disable(key, "4")
    assert statuses() == "GGGDE"
    assert [version.id for version in backend.describe(key).versions] == list("12345")


def test_the_newest_version_cannot_be_disabled(backend: OpenBaoBackend, key: str) -> None:
    before = backend.describe(key)
    for act in (backend.disable, backend.purge):
        with pytest.raises(NotCapableError, match="rotate it first"):
            act(key, "2")
        with pytest.raises(NoSuchKeyError):
            act(key, "3")
    assert backend.describe(key) == before


@pytest.mark.parametrize("drift", ["exportable", "allow_plaintext_backup"])
def test_a_key_that_somebody_opens_to_the_world_wraps_nothing_more(
    server: Bao, backend: OpenBaoBackend, key: str, drift: str
) -> None:
    blobs = wrap(backend, key, "1", drawn := deks(2))
    server.ask("POST", f"transit/keys/{key}/config", {drift: True})
    assert backend.describe(key).is_exportable
    with pytest.raises(NotUsableError, match="Create another KEK"):
        wrap(backend, key, "2", drawn)
    with pytest.raises(NotUsableError):
        backend.rewrap(key, "1", "2", items(blobs))
    assert backend.unwrap(key, "1", items(blobs)) == drawn


def test_a_key_that_is_not_derived_is_not_used(server: Bao, backend: OpenBaoBackend) -> None:
    name = f"kms-11-{secrets.token_hex(4)}"
    server.ask("POST", f"transit/keys/{name}", {"type": "aes256-gcm96"})
    for call in (lambda: backend.describe(name), lambda: wrap(backend, name, "1", deks(1))):
        with pytest.raises(NotUsableError, match="not bound by context"):
            call()


NOT_ALLOWED = [
    ("DELETE", "transit/keys/{key}", None),
    ("GET", "transit/export/encryption-key/{key}", None),
    ("GET", "transit/backup/{key}", None),
    ("GET", "transit/keys?list=true", None),
    ("GET", "sys/mounts", None),
    ("POST", "transit/keys/{key}/import", {}),
    ("POST", "transit/datakey/plaintext/{key}", {}),
    ("POST", "transit/config/keys", {"disable_upsert": False}),
    ("POST", "auth/token/create", {}),
    ("POST", "transit/keys/{key}/config", {"exportable": True}),
    ("POST", "transit/keys/{key}/config", {"allow_plaintext_backup": True}),
    ("POST", "transit/keys/{key}/config", {"deletion_allowed": True}),
    ("POST", "transit/keys/{key}-2", {**new_key(), "exportable": True}),
    ("POST", "transit/keys/{key}-2", {**new_key(), "derived": False}),
]


def test_the_policy_of_the_manual_allows_nothing_else(server: Bao, key: str) -> None:
    token = server.new_token()
    asked = [server._ask(method, path.format(key=key), content, token)[0] for method, path, content in NOT_ALLOWED]
    assert asked == [403] * len(NOT_ALLOWED)
