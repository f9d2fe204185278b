"""KEKs in Azure Key Vault: `azure://VAULT.vault.azure.net?credential=managed#name`.

`credential=managed` (with `&client=` for one of several), `workload` (`&tenant=…&client=…&token_file=…`) or `secret`
(`&tenant=…&client=…&secret_file=…`). KEKs are RSA keys; `&hsm=yes` makes new ones in the vault's hardware. A DEK is
wrapped here under the public half, which is fetched with each batch, so the logs of the vault show openings alone.
`&sha1=old,older` names KEKs whose DEKs were wrapped with RSA-OAEP and SHA-1: they are opened, no more.

A version is disabled alone; deletion is of the whole key, waits for as long as the vault keeps what is deleted, and can
be recovered or made final meanwhile. Of a deleted key the vault shows its newest version only.
Source: https://learn.microsoft.com/rest/api/keyvault/keys/.
"""

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, TypeVar

from azure.keyvault.keys import DeletedKey, KeyProperties, KeyType, KeyVaultKey
from azure.keyvault.keys.crypto import KeyWrapAlgorithm

from inventory.kms.azure_client import AzureClient, BadRequestError, Place
from inventory.kms.base import (
    Backend,
    Capabilities,
    Death,
    KeyInfo,
    Scope,
    StoreAddress,
    ToOpen,
    ToWrap,
    VersionInfo,
    VersionStatus,
    WrapAlgorithm,
)
from inventory.kms.calls import Caller, breaker_of
from inventory.kms.errors import (
    AddressError,
    KeyExistsError,
    NoSuchKeyError,
    NotCapableError,
    NotUsableError,
    Refused,
    WrongAnswerError,
)

T = TypeVar("T")
MOST_ITEMS = 50  # each is opened by a request of its own
MOST_VERSIONS = 1000
FEWEST_DAYS, MOST_DAYS = 7, 90
SIZES = {
    WrapAlgorithm.RSA_2048_OAEP_256: 2048,
    WrapAlgorithm.RSA_3072_OAEP_256: 3072,
    WrapAlgorithm.RSA_4096_OAEP_256: 4096,
}
_SHA1_BITS = 2048
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_VERSION = re.compile(r"[0-9a-f]{32}")


class AzureBackend(Backend):
    """One vault."""

    scheme: ClassVar[str] = "azure"
    capabilities: ClassVar[Capabilities] = Capabilities(
        algorithms=tuple(SIZES),
        binds_context=False,
        rewraps=False,
        most_items=MOST_ITEMS,
        disables=Scope.VERSION,
        enables=True,
        schedules=Scope.KEY,
        waiting_days=(FEWEST_DAYS, MOST_DAYS),
        recovers=True,
        purges=Scope.KEY,
        death=Death.REFUSES,
    )

    def __init__(self, address: StoreAddress, *, master_key: bytes | None = None, caller: Caller | None = None) -> None:
        """`caller`: other manners, a breaker or a clock of one's own."""
        super().__init__(address, master_key=None)
        place = Place.of(address)
        self._is_in_hardware = place.options.get("hsm") == "yes"
        self._sha1 = frozenset(filter(None, place.options.get("sha1", "").split(",")))
        caller = caller or Caller(breaker=breaker_of(f"{place.url}#{address.name}"))
        self._client = AzureClient(place, store=address.name, caller=caller)

    def close(self) -> None:
        self._client.close()

    # Keys

    def describe(self, key: str) -> KeyInfo:
        name = _checked(key)
        try:
            newest = self._newest(name)
        except NoSuchKeyError:
            return self._deleted_info(name, self._client.ask(lambda keys: keys.get_deleted_key(name)))
        versions = sorted(self._versions(name), key=lambda one: (one.version == newest.properties.version, _made(one)))
        if newest.properties.version not in {one.version for one in versions}:
            raise WrongAnswerError(f"The key store {self.address.name} lists other versions of {name} than it uses.")
        return KeyInfo(
            algorithm=self._algorithm(name, newest),
            versions=tuple(_info(one) for one in versions),
            newest=str(newest.properties.version),
            is_exportable=any(bool(one.exportable) for one in versions),
        )

    def create(self, key: str, algorithm: WrapAlgorithm) -> KeyInfo:
        """Make a key. The vault would add a version to one that is there, hence the look before and after."""
        name = _checked(key)
        if algorithm not in SIZES:
            raise NotCapableError(f"The key store {self.address.name} makes RSA keys for OAEP with SHA-256 only.")
        try:
            self.describe(name)
        except NoSuchKeyError:
            pass
        else:
            raise self._taken(name)
        self._client.ask(
            lambda keys: keys.create_rsa_key(
                name, size=SIZES[algorithm], hardware_protected=self._is_in_hardware, exportable=False,
                key_operations=["wrapKey", "unwrapKey"],
            ),
            is_idempotent=False,
        )  # fmt: skip
        made = self.describe(name)
        if len(made.versions) != 1:
            raise self._taken(name)
        if made.algorithm != algorithm or made.is_exportable:
            raise WrongAnswerError(f"The key store {self.address.name} made another key than it was asked for.")
        return made

    def _taken(self, name: str) -> KeyExistsError:
        return KeyExistsError(f"The key store {self.address.name} has a key {name} already, deleted or not.")

    def rotate(self, key: str) -> None:
        name = _checked(key)
        if name in self._sha1:
            raise NotCapableError(f"No new version is made of {name}: it is there to open RSA-OAEP with SHA-1.")
        self._client.ask(lambda keys: keys.rotate_key(name), is_idempotent=False)

    def disable(self, key: str, version: str) -> None:
        self._set(key, version, enabled=False)

    def enable(self, key: str, version: str) -> None:
        self._set(key, version, enabled=True)

    def _set(self, key: str, version: str, *, enabled: bool) -> None:
        name, known = _checked(key), self._of(key, version)
        found = self._client.ask(lambda keys: keys.update_key_properties(name, known, enabled=enabled))
        if found.properties.version != known or found.properties.enabled is not enabled:
            raise WrongAnswerError(f"The key store {self.address.name} changed something else than it was asked to.")

    def schedule_destruction(self, key: str, version: str, *, days: int) -> datetime | None:
        """Delete the key. How long it can be recovered is the vault's to say; another number is refused."""
        name = _checked(key)
        found = self.describe(name).versions[-1]
        if found.status is VersionStatus.SCHEDULED:
            return found.gone_at
        kept = next((one.recoverable_days for one in self._versions(name) if one.version == found.id), None)
        if not kept or kept != days:
            raise NotCapableError(
                f"The vault {self.address.name} keeps what is deleted for {kept or 0} days, and not for {days}."
            )
        deleted = self._client.ask(lambda keys: keys.begin_delete_key(name).result())
        return deleted.scheduled_purge_date

    def recover(self, key: str, version: str) -> None:
        name = _checked(key)
        if self.describe(name).versions[-1].status is VersionStatus.SCHEDULED:
            self._client.ask(lambda keys: keys.begin_recover_deleted_key(name).result())

    def purge(self, key: str, version: str) -> None:
        name = _checked(key)
        try:
            found = self.describe(name)
        except NoSuchKeyError:
            return
        if found.versions[-1].status is not VersionStatus.SCHEDULED:
            raise NotUsableError(f"The key {name} of the key store {self.address.name} is not deleted yet.")
        self._client.ask(lambda keys: keys.purge_deleted_key(name))

    # DEKs

    def wrap(self, key: str, version: str, items: Sequence[ToWrap]) -> list[bytes | Refused]:
        found, algorithm = self._usable(key, version)
        if algorithm not in SIZES:
            raise NotCapableError(f"Nothing new is wrapped under {key}: it is there to open RSA-OAEP with SHA-1.")
        return [self._wrapped(found, bytes(item.dek)) for item in items]

    def unwrap(self, key: str, version: str, items: Sequence[ToOpen]) -> list[bytearray | Refused]:
        found, algorithm = self._usable(key, version)
        how = KeyWrapAlgorithm.rsa_oaep_256 if algorithm in SIZES else KeyWrapAlgorithm.rsa_oaep
        return [self._opened(found, how, item.ciphertext) for item in items]

    def _wrapped(self, found: KeyVaultKey, dek: bytes) -> bytes:
        wrapped = self._client.use(
            found, lambda crypto: crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, dek).encrypted_key
        )
        if len(wrapped) != _bits(found) // 8:
            raise WrongAnswerError(f"The key store {self.address.name} wrapped to another length than its key has.")
        return bytes(wrapped)

    def _opened(self, found: KeyVaultKey, how: KeyWrapAlgorithm, ciphertext: bytes) -> bytearray | Refused:
        if len(ciphertext) != _bits(found) // 8:
            return Refused("altered")
        try:
            opened = self._client.use(found, lambda crypto: crypto.unwrap_key(how, ciphertext).key)
        except BadRequestError:
            return Refused("altered")
        if not isinstance(opened, bytes) or not opened:
            raise WrongAnswerError(f"The key store {self.address.name} opened a DEK to nothing.")
        return bytearray(opened)

    # What the vault says of a key

    def _usable(self, key: str, version: str) -> tuple[KeyVaultKey, WrapAlgorithm]:
        """Return a version with its public half. Raises: NotUsableError, NoSuchKeyError."""
        name, known = _checked(key), self._of(key, version)
        found = self._client.ask(lambda keys: keys.get_key(name, known))
        if found.name != name or found.properties.version != known:
            raise WrongAnswerError(
                f"The key store {self.address.name} answered with another version than was asked for."
            )
        if not found.properties.enabled:
            raise NotUsableError(f"This version of the key {name} of the key store {self.address.name} is disabled.")
        return found, self._algorithm(name, found)

    def _newest(self, name: str) -> KeyVaultKey:
        """Return the newest version, or, where it is disabled and so not shown, the newest that is."""
        try:
            return self._checked_key(name, self._client.ask(lambda keys: keys.get_key(name)))
        except NotUsableError:
            enabled = sorted((one for one in self._versions(name) if one.enabled), key=_made)
            if not enabled:
                raise
        return self._checked_key(name, self._client.ask(lambda keys: keys.get_key(name, enabled[-1].version)))

    def _checked_key(self, name: str, found: KeyVaultKey) -> KeyVaultKey:
        if found.name != name or not _VERSION.fullmatch(str(found.properties.version)):
            raise WrongAnswerError(f"The key store {self.address.name} answered with another key than was asked for.")
        return found

    def _versions(self, name: str) -> list[KeyProperties]:
        found = self._client.ask(
            lambda keys: list(itertools.islice(keys.list_properties_of_key_versions(name), MOST_VERSIONS))
        )
        if not all(one.name == name and _VERSION.fullmatch(str(one.version)) for one in found):
            raise WrongAnswerError(f"The key store {self.address.name} lists versions of something else.")
        return found

    def _deleted_info(self, name: str, found: DeletedKey) -> KeyInfo:
        self._checked_key(name, found)
        version = VersionInfo(
            id=str(found.properties.version),
            status=VersionStatus.SCHEDULED,
            created_at=found.properties.created_on,
            gone_at=found.scheduled_purge_date,
        )
        return KeyInfo(algorithm=self._algorithm(name, found), versions=(version,), newest=version.id)

    def _algorithm(self, name: str, found: KeyVaultKey) -> WrapAlgorithm:
        bits = _bits(found) if found.key_type in {KeyType.rsa, KeyType.rsa_hsm} else 0
        if name in self._sha1 and bits == _SHA1_BITS:
            return WrapAlgorithm.RSA_2048_OAEP
        algorithm = next((one for one, size in SIZES.items() if size == bits), None)
        if algorithm is None or name in self._sha1:
            raise WrongAnswerError(
                f"The key {name} of the key store {self.address.name} is not of a kind that a KEK is."
            )
        return algorithm

    def _of(self, key: str, version: str) -> str:
        if not _VERSION.fullmatch(version):
            raise NoSuchKeyError(f"The key store {self.address.name} has no version {version[:20]!r} of {key}.")
        return version


def _checked(key: str) -> str:
    if not _NAME.fullmatch(key):
        raise AddressError("The name of a KEK in Azure Key Vault is made of letters, digits and hyphens.")
    return key


def _bits(found: KeyVaultKey) -> int:
    modulus = getattr(found.key, "n", None)
    return int.from_bytes(modulus, "big").bit_length() if isinstance(modulus, bytes) else 0


def _made(one: KeyProperties) -> datetime:
    return one.created_on or datetime.min.replace(tzinfo=UTC)


def _info(one: KeyProperties) -> VersionInfo:
    status = VersionStatus.ENABLED if one.enabled else VersionStatus.DISABLED
    return VersionInfo(id=str(one.version), status=status, created_at=one.created_on)
