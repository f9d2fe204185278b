"""KEKs in AWS KMS: `aws://eu-central-1?credentials_file=/run/secrets/aws#name`, for another endpoint `&endpoint=https://…`.

A KEK `orders` is a symmetric key with the alias `alias/orders`. AWS keeps the material of all rotations and chooses by
itself what opens a blob. A version here is one material, by the id that AWS gives it; an endpoint that gives none (an
older one, or a stand-in) has versions by position: 1, 2, 3. Nothing is wrapped under a version but the newest, and none
can be disabled or destroyed without the others, so that the death of an old version cannot be shown.

Each blob is bound, by the encryption context, to its DEK's row and to the version that it was wrapped under.
Source: https://docs.aws.amazon.com/kms/latest/APIReference/.
"""

import base64
import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

from inventory.kms.aws_client import AwsClient, NotThisBlobError, Place
from inventory.kms.base import (
    Backend,
    Capabilities,
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
    BackendError,
    DeniedError,
    KeyExistsError,
    NoSuchKeyError,
    NotCapableError,
    NotUsableError,
    Refused,
    WrongAnswerError,
)

T = TypeVar("T")
Facts = dict[str, Any]
MOST_ITEMS = 50  # each is a request of its own
LONGEST_BLOB = 6144  # bytes
MOST_PAGES = 20
LONGEST_POSITION = 5  # digits
FEWEST_DAYS, MOST_DAYS = 7, 30
_NAME = re.compile(r"(?!aws/)[A-Za-z0-9/_-]{1,250}")
_VERSION = re.compile(r"[0-9A-Za-z._-]{1,64}")
_STATES = {
    "Enabled": VersionStatus.ENABLED,
    "Disabled": VersionStatus.DISABLED,
    "PendingDeletion": VersionStatus.SCHEDULED,
    "PendingReplicaDeletion": VersionStatus.SCHEDULED,
}
_SYMMETRIC = "SYMMETRIC_DEFAULT"
_CURRENT, _OLD = "CURRENT", "NON_CURRENT"


class AwsBackend(Backend):
    """The keys of one account in one region."""

    scheme: ClassVar[str] = "aws"
    capabilities: ClassVar[Capabilities] = Capabilities(
        algorithms=(WrapAlgorithm.AWS_SYMMETRIC,),
        binds_context=True,
        rewraps=True,
        most_items=MOST_ITEMS,
        disables=Scope.KEY,
        enables=True,
        schedules=Scope.KEY,
        waiting_days=(FEWEST_DAYS, MOST_DAYS),
        recovers=True,
    )

    def __init__(self, address: StoreAddress, *, master_key: bytes | None = None, caller: Caller | None = None) -> None:
        """`caller`: other manners, a breaker or a clock of one's own."""
        super().__init__(address, master_key=None)
        place = Place.of(address)
        caller = caller or Caller(breaker=breaker_of(f"{place.endpoint}#{address.name}"))
        self._client = AwsClient(place, store=address.name, caller=caller)

    def close(self) -> None:
        self._client.close()

    # Keys

    def describe(self, key: str) -> KeyInfo:
        return self._info(self._look(key))

    def create(self, key: str, algorithm: WrapAlgorithm) -> KeyInfo:
        if algorithm not in self.capabilities.algorithms:
            raise NotCapableError(f"The key store {self.address.name} makes symmetric keys only.")
        try:
            self._look(key)
        except NoSuchKeyError:
            made = self._client.ask(
                "create_key", is_idempotent=False, KeySpec=_SYMMETRIC, KeyUsage="ENCRYPT_DECRYPT", Origin="AWS_KMS",
                Description=f"Keyvault Admin: {key}",
            )  # fmt: skip
        else:
            raise KeyExistsError(f"The key store {self.address.name} has an alias {key} already.")
        self._name(key, _text(_facts(made, "KeyMetadata"), "KeyId"))
        return self.describe(key)

    def _name(self, key: str, key_id: str) -> None:
        try:
            self._client.ask("create_alias", is_idempotent=False, AliasName=f"alias/{key}", TargetKeyId=key_id)
        except KeyExistsError:  # somebody was faster, and nobody needs this one
            self._client.ask("schedule_key_deletion", KeyId=key_id, PendingWindowInDays=FEWEST_DAYS)
            raise

    def rotate(self, key: str) -> None:
        self._client.ask("rotate_key_on_demand", is_idempotent=False, KeyId=_text(self._look(key), "KeyId"))

    def disable(self, key: str, version: str) -> None:
        self._client.ask("disable_key", KeyId=_text(self._look(key), "KeyId"))

    def enable(self, key: str, version: str) -> None:
        self._client.ask("enable_key", KeyId=_text(self._look(key), "KeyId"))

    def schedule_destruction(self, key: str, version: str, *, days: int) -> datetime | None:
        if not FEWEST_DAYS <= days <= MOST_DAYS:
            raise NotCapableError(f"AWS KMS waits {FEWEST_DAYS} to {MOST_DAYS} days before it destroys a key.")
        found = self._look(key)
        if _status(found) is not VersionStatus.SCHEDULED:
            self._client.ask("schedule_key_deletion", KeyId=_text(found, "KeyId"), PendingWindowInDays=days)
            found = self._look(key)
        return _moment(found, "DeletionDate")

    def recover(self, key: str, version: str) -> None:
        found = self._look(key)
        if _status(found) is VersionStatus.SCHEDULED:
            self._client.ask("cancel_key_deletion", KeyId=_text(found, "KeyId"))

    # DEKs

    def wrap(self, key: str, version: str, items: Sequence[ToWrap]) -> list[bytes | Refused]:
        arn = self._newest(key, version)
        return [self._wrapped(arn, version, item) for item in items]

    def unwrap(self, key: str, version: str, items: Sequence[ToOpen]) -> list[bytearray | Refused]:
        arn = self._enabled(key, self._look(key))
        if not _VERSION.fullmatch(version):
            raise NoSuchKeyError(f"The key store {self.address.name} has no version {version[:20]!r} of {key}.")
        return [self._each(arn, item, lambda one: self._opened(arn, version, one)) for item in items]

    def rewrap(self, key: str, old: str, new: str, items: Sequence[ToOpen]) -> list[bytes | Refused]:
        arn = self._newest(key, new)
        return [self._each(arn, item, lambda one: self._moved(arn, old, new, one)) for item in items]

    def _each(self, key_id: str, item: ToOpen, work: Callable[[ToOpen], T | Refused]) -> T | Refused:
        if not 0 < len(item.ciphertext) <= LONGEST_BLOB:
            return Refused("altered")
        try:
            return work(item)
        except NotThisBlobError:
            return Refused("altered")
        except DeniedError:
            if not self._may_open(key_id):
                raise
            return Refused("denied")  # a blob that names another key, so AWS speaks of rights

    def _may_open(self, key_id: str) -> bool:
        """Whether we may open what we have just wrapped, so that a denial before was the blob's."""
        drawn, context = os.urandom(32), {"keyvault": "probe"}
        try:
            made = self._client.ask("encrypt", KeyId=key_id, Plaintext=drawn, EncryptionContext=context)
            blob = _bytes(made, "CiphertextBlob")
            answer = self._client.ask("decrypt", KeyId=key_id, CiphertextBlob=blob, EncryptionContext=context)
        except BackendError:
            return False
        return _bytes(answer, "Plaintext") == drawn

    def _wrapped(self, arn: str, version: str, item: ToWrap) -> bytes:
        answer = self._client.ask(
            "encrypt", KeyId=arn, Plaintext=bytes(item.dek), EncryptionAlgorithm=_SYMMETRIC,
            EncryptionContext=_context(item.context, version),
        )  # fmt: skip
        self._same_key(answer, arn)
        blob = _bytes(answer, "CiphertextBlob")
        if bytes(item.dek) in blob:
            raise WrongAnswerError(f"The key store {self.address.name} gave back what it was to wrap.")
        return blob

    def _opened(self, arn: str, version: str, item: ToOpen) -> bytearray | Refused:
        answer = self._client.ask(
            "decrypt", KeyId=arn, CiphertextBlob=item.ciphertext, EncryptionAlgorithm=_SYMMETRIC,
            EncryptionContext=_context(item.context, version),
        )  # fmt: skip
        self._same_key(answer, arn)
        if not _is_of(answer, "KeyMaterialId", version):
            return Refused("refused")
        return bytearray(_bytes(answer, "Plaintext"))

    def _moved(self, arn: str, old: str, new: str, item: ToOpen) -> bytes | Refused:
        answer = self._client.ask(
            "re_encrypt", CiphertextBlob=item.ciphertext, SourceKeyId=arn, DestinationKeyId=arn,
            SourceEncryptionContext=_context(item.context, old),
            DestinationEncryptionContext=_context(item.context, new),
            SourceEncryptionAlgorithm=_SYMMETRIC, DestinationEncryptionAlgorithm=_SYMMETRIC,
        )  # fmt: skip
        self._same_key(answer, arn)
        if not _is_of(answer, "SourceKeyMaterialId", old):
            return Refused("refused")
        if not _is_of(answer, "DestinationKeyMaterialId", new):
            raise WrongAnswerError(f"The key store {self.address.name} wrapped under another version than was asked.")
        return _bytes(answer, "CiphertextBlob")

    def _same_key(self, answer: Facts, arn: str) -> None:
        if answer.get("KeyId") != arn:
            raise WrongAnswerError(f"The key store {self.address.name} used another key than it was asked to.")

    # What AWS says of a key

    def _look(self, key: str) -> Facts:
        found = _facts(self._client.ask("describe_key", KeyId=_alias(key)), "KeyMetadata")
        if found.get("KeySpec") != _SYMMETRIC or found.get("KeyUsage") != "ENCRYPT_DECRYPT":
            raise WrongAnswerError(f"The key {key} of the key store {self.address.name} is no symmetric key.")
        return found

    def _newest(self, key: str, version: str) -> str:
        """Return the ARN of a key that would wrap under that version. Raises: NotUsableError."""
        arn = self._enabled(key, found := self._look(key))
        if self._info(found).newest != version:
            raise NotUsableError(f"AWS KMS wraps under the newest version of {key} alone, which is another one.")
        return arn

    def _enabled(self, key: str, found: Facts) -> str:
        """Return the ARN, which the calls name: an alias may point elsewhere a moment later."""
        if _status(found) is not VersionStatus.ENABLED:
            raise NotUsableError(
                f"The key {key} of the key store {self.address.name} is {_status(found)}, not enabled."
            )
        return _text(found, "Arn")

    def _info(self, found: Facts) -> KeyInfo:
        status, gone_at = _status(found), _moment(found, "DeletionDate")
        rotations = self._rotations(found)
        made = [
            (_text(one, "KeyMaterialId"), _moment(one, "RotationDate")) for one in rotations if "KeyMaterialId" in one
        ]
        if not made:
            made = [(str(number + 2), _moment(one, "RotationDate")) for number, one in enumerate(rotations)]
            made.insert(0, ("1", None))
        born = _moment(found, "CreationDate")
        versions = tuple(
            VersionInfo(id=name, status=status, created_at=at or born, gone_at=gone_at) for name, at in made
        )
        names = [one.id for one in versions]
        if len(set(names)) < len(names) or not all(_VERSION.fullmatch(name) for name in names):
            raise WrongAnswerError(f"The key store {self.address.name} names its key materials oddly.")
        return KeyInfo(algorithm=WrapAlgorithm.AWS_SYMMETRIC, versions=versions, newest=names[-1])

    def _rotations(self, found: Facts) -> list[Facts]:
        """Return what AWS lists, oldest first; the first material is among it where AWS gives materials' ids."""
        listed: list[Facts] = []
        more: Facts = {"IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
        for _page in range(MOST_PAGES):
            page = self._client.ask("list_key_rotations", KeyId=_text(found, "KeyId"), **more)
            entries = page.get("Rotations")
            if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
                raise WrongAnswerError(f"The key store {self.address.name} lists no rotations.")
            listed += [one for one in entries if one.get("KeyMaterialState", _OLD) in {_CURRENT, _OLD}]
            if not page.get("Truncated"):
                break
            more["Marker"] = _text(page, "NextMarker")
        else:
            raise WrongAnswerError(f"The key store {self.address.name} lists rotations without end.")
        born = datetime.min.replace(tzinfo=UTC)  # the first material has no date of rotation
        return sorted(listed, key=lambda one: _moment(one, "RotationDate") or born)


def _alias(key: str) -> str:
    if not _NAME.fullmatch(key):
        raise AddressError("The alias of a KEK in AWS is made of letters, digits, /, - and _.")
    return f"alias/{key}"


def _context(context: bytes, version: str) -> dict[str, str]:
    """Return the encryption context. CloudTrail shows it, so it names a digest and no tenant."""
    return {"keyvault": base64.b64encode(context).decode(), "keyvault-version": version}


def _is_of(answer: Facts, name: str, version: str) -> bool:
    """Whether an answer names that material; versions by position are bound by the encryption context alone."""
    is_position = len(version) <= LONGEST_POSITION and version.isdecimal()
    return answer.get(name) == version or (is_position and name not in answer)


def _status(found: Facts) -> VersionStatus:
    return _STATES.get(str(found.get("KeyState")), VersionStatus.DISABLED)


def _facts(answer: Facts, name: str) -> Facts:
    if not isinstance(found := answer.get(name), dict):
        raise WrongAnswerError(f"AWS KMS answered without {name}.")
    return found


def _text(answer: Facts, name: str) -> str:
    if not isinstance(found := answer.get(name), str) or not found:
        raise WrongAnswerError(f"AWS KMS answered without {name}.")
    return found


def _bytes(answer: Facts, name: str) -> bytes:
    if not isinstance(found := answer.get(name), bytes) or not found:
        raise WrongAnswerError(f"AWS KMS answered without {name}.")
    return found


def _moment(answer: Facts, name: str) -> datetime | None:
    found = answer.get(name)
    return found.astimezone(UTC) if isinstance(found, datetime) else None
