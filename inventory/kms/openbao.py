"""KEKs in the transit engine of OpenBao or Vault: `openbao://host:port/mount?token_file=…#name`.

A KEK is a transit key of type aes256-gcm96 with `derived: true`: each wrap is under a key of its own, derived from the
KEK and the context of the DEK's row, so that a blob in another row opens nothing. Not `associated_data`, which
`rewrap` ignores. Versions are numbers; disabling and destroying reach a version and all before it.

No package speaks to the server: transit is eight paths of JSON, and hvac's transport keeps none of the manners that
inventory.kms.channel has.

Source: https://openbao.org/api-docs/secret/transit/.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar

from inventory.kms import transit
from inventory.kms.base import (
    Backend,
    Capabilities,
    Death,
    KeyInfo,
    Scope,
    StoreAddress,
    ToOpen,
    ToWrap,
    VersionStatus,
    WrapAlgorithm,
)
from inventory.kms.calls import Caller, breaker_of
from inventory.kms.errors import (
    AddressError,
    BackendError,
    KeyExistsError,
    NoSuchKeyError,
    NotCapableError,
    NotUsableError,
    Refused,
    WrongAnswerError,
)
from inventory.kms.transit_client import Place, TooManyItemsError, TransitClient

MOST_ITEMS = (transit.MOST_STRINGS - 1) // transit.WRAP_STRINGS  # one string is the name of the batch
REMEMBERED_SECONDS = 10.0  # that a version may wrap
T = TypeVar("T")
Result = dict[str, Any]
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?")


class VersionRefusedError(BackendError):
    """The server refused every item for the version's sake."""


class _Batch(NamedTuple):
    """What is asked for items of one version."""

    verb: str
    key: str
    version: str  # that the items are of, or are to be of
    strings: int  # of an item


class OpenBaoBackend(Backend):
    """One mount of transit."""

    scheme: ClassVar[str] = "openbao"
    capabilities: ClassVar[Capabilities] = Capabilities(
        algorithms=(WrapAlgorithm.AES_256_GCM96,),
        binds_context=True,
        rewraps=True,
        most_items=MOST_ITEMS,
        disables=Scope.UP_TO,
        enables=True,
        purges=Scope.UP_TO,
        death=Death.RAISED,
    )

    def __init__(self, address: StoreAddress, *, master_key: bytes | None = None, caller: Caller | None = None) -> None:
        """`caller`: other manners, a breaker or a clock of one's own."""
        super().__init__(address, master_key=None)
        place = Place.of(address)
        self._caller = caller or Caller(breaker=breaker_of(f"openbao://{place.host}:{place.port}#{address.name}"))
        self._client = TransitClient(place, store=address.name, caller=self._caller)
        self._most_strings = transit.MOST_STRINGS
        self._usable_until: dict[tuple[str, int], float] = {}

    def close(self) -> None:
        self._client.close()

    # Keys

    def describe(self, key: str) -> KeyInfo:
        return self._look(key).info()

    def create(self, key: str, algorithm: WrapAlgorithm) -> KeyInfo:
        """Make a key. The server makes none where one is, and says nothing about it: hence the look before."""
        if algorithm not in self.capabilities.algorithms:
            raise NotCapableError(f"The key store {self.address.name} makes keys of AES-256-GCM96 only.")
        try:
            self._look(key)
        except NoSuchKeyError:
            self._client.ask("POST", f"keys/{key}", transit.new_key(), is_idempotent=False)
        except NotUsableError as error:
            raise self._taken(key) from error
        else:
            raise self._taken(key)
        made = self._look(key)
        if made.newest != 1 or made.is_exportable:
            raise WrongAnswerError(f"The key store {self.address.name} made another key than it was asked for.")
        return made.info()

    def rotate(self, key: str) -> None:
        self._look(key)
        self._client.ask("POST", f"keys/{key}/rotate", {}, is_idempotent=False)

    def disable(self, key: str, version: str) -> None:
        """Raise the smallest version that opens; the newest version cannot be disabled."""
        found, number = self._version(key, version)
        if found.status(number) == VersionStatus.ENABLED:
            self._configure(key, found, number + 1)

    def enable(self, key: str, version: str) -> None:
        """Lower the smallest version that opens to this one, so that those between open again too."""
        found, number = self._version(key, version)
        if found.status(number) == VersionStatus.GONE:
            raise self._no_version(key, version)
        if found.status(number) == VersionStatus.DISABLED:
            self._client.ask("POST", f"keys/{key}/config", {"min_decryption_version": number})

    def purge(self, key: str, version: str) -> None:
        """Trim this version and all before it from the store; they are disabled first where they were not."""
        found, number = self._version(key, version)
        if found.status(number) != VersionStatus.GONE:
            self._configure(key, found, number + 1, smallest_wrapping=number + 1)
            self._client.ask("POST", f"keys/{key}/trim", {"min_available_version": number + 1})

    def _configure(self, key: str, found: transit.TransitKey, smallest: int, smallest_wrapping: int = 0) -> None:
        if smallest > found.newest:
            raise NotCapableError(
                f"The newest version of {key} in the key store {self.address.name} cannot be disabled: rotate it first."
            )
        wanted = {"min_decryption_version": max(smallest, found.smallest_opening)}
        if found.smallest_wrapping or smallest_wrapping:  # transit wants it as high as the other, once it is set
            wanted["min_encryption_version"] = max(smallest, found.smallest_wrapping)
        self._client.ask("POST", f"keys/{key}/config", wanted)

    def _look(self, key: str) -> transit.TransitKey:
        self._check_name(key)
        return transit.read_key(self._client.ask("GET", f"keys/{key}"), store=self.address.name)

    def _version(self, key: str, version: str) -> tuple[transit.TransitKey, int]:
        found, number = self._look(key), self._number(key, version)
        if number > found.newest:
            raise self._no_version(key, version)
        return found, number

    def _check_name(self, key: str) -> None:
        if not _NAME.fullmatch(key):
            raise AddressError(f"The key store {self.address.name} has no keys of such a name: letters, digits, _ . -")

    def _number(self, key: str, version: str) -> int:
        self._check_name(key)
        number = transit.version_number(version)
        if number is None:
            raise self._no_version(key, version)
        return number

    # DEKs

    def wrap(self, key: str, version: str, items: Sequence[ToWrap]) -> list[bytes | Refused]:
        """Look at the key each time: `encrypt` would make one that is missing, and would use one that is exportable."""
        number = self._usable(key, version)
        read = partial(transit.wrapped, version=number, store=self.address.name)
        batch = _Batch("encrypt", key, version, transit.WRAP_STRINGS)
        return self._ask_all(batch, transit.to_wrap(items, number), [len(item.dek) for item in items], read)

    def unwrap(self, key: str, version: str, items: Sequence[ToOpen]) -> list[bytearray | Refused]:
        """Open also what an exportable key wraps: it has to be left somehow."""
        self._number(key, version)
        read = partial(transit.opened, store=self.address.name)
        return self._move(_Batch("decrypt", key, version, transit.UNWRAP_STRINGS), items, transit.to_open, read)

    def rewrap(self, key: str, old: str, new: str, items: Sequence[ToOpen]) -> list[bytes | Refused]:
        self._number(key, old)
        target = self._usable(key, new, remembered=True)
        questions = partial(transit.to_rewrap, version=target)
        read = partial(transit.wrapped, version=target, store=self.address.name)
        return self._move(_Batch("rewrap", key, old, transit.REWRAP_STRINGS), items, questions, read)

    def _usable(self, key: str, version: str, *, remembered: bool = False) -> int:
        """Return the number of a version that may wrap; `remembered`: if it was so a few seconds ago, not looking."""
        number = self._number(key, version)
        if remembered and self._caller.clock.monotonic() < self._usable_until.get((key, number), 0.0):
            return number
        found, number = self._version(key, version)
        if found.is_exportable:
            raise NotUsableError(
                f"The key {key} in the key store {self.address.name} can be exported or backed up in plaintext, so "
                "nothing more is wrapped under it. Create another KEK and re-wrap to it."
            )
        if found.status(number) == VersionStatus.GONE:
            raise self._no_version(key, version)
        if found.status(number) != VersionStatus.ENABLED or number < found.smallest_wrapping:
            raise self._not_usable(key, version)
        self._usable_until[key, number] = self._caller.clock.monotonic() + REMEMBERED_SECONDS
        return number

    def _move(
        self,
        batch: _Batch,
        items: Sequence[ToOpen],
        questions: Callable[[Sequence[ToOpen]], list[Result]],
        read: Callable[..., T],
    ) -> list[T | Refused]:
        """Send those ciphertexts that are of the version asked for; the others are refused here."""
        number = transit.version_number(batch.version)
        is_ours = [transit.version_of(item.ciphertext) == number for item in items]
        ours = [item for item, yes in zip(items, is_ours, strict=True) if yes]
        lengths = [transit.length_within(item.ciphertext) for item in ours]
        done = iter(self._ask_all(batch, questions(ours), lengths, read))
        return [next(done) if yes else Refused("altered") for yes in is_ours]

    def _ask_all(
        self, batch: _Batch, questions: Sequence[Result], lengths: Sequence[int], read: Callable[..., T]
    ) -> list[T | Refused]:
        """Ask in as many requests as the server's limit needs, and learn a lower limit from its refusal.

        `lengths` are those of the plaintexts; `read(result, length=…)` takes an item's result apart.
        """
        done: list[T | Refused] = []
        while len(done) < len(questions):
            size = max((self._most_strings - 1) // batch.strings, 1)
            part = slice(len(done), len(done) + size)
            try:
                done += self._ask_some(batch, questions[part], lengths[part], read)
            except TooManyItemsError as error:
                if size == 1:
                    raise WrongAnswerError(f"The key store {self.address.name} refuses even one DEK a call.") from error
                self._most_strings = 1 + batch.strings * (size // 2)
        return done

    def _ask_some(
        self, batch: _Batch, questions: Sequence[Result], lengths: Sequence[int], read: Callable[..., T]
    ) -> list[T | Refused]:
        body = {"batch_input": [{**question, "reference": str(place)} for place, question in enumerate(questions)]}
        store = self.address.name

        def understood(answer: Result) -> list[T | Refused]:
            results = transit.batch_results(answer, len(questions), store=store)
            if transit.said_of_all(results, transit.NOT_USABLE | transit.NO_SUCH_VERSION):
                raise VersionRefusedError("The version is refused.")
            return [
                transit.refusal(result, store=store) or read(result, length=length)
                for result, length in zip(results, lengths, strict=True)
            ]

        try:
            return self._client.asked("POST", f"{batch.verb}/{batch.key}", body, understood)
        except VersionRefusedError as error:
            found, number = self._version(batch.key, batch.version)
            gone = found.status(number) == VersionStatus.GONE
            raise (self._no_version if gone else self._not_usable)(batch.key, batch.version) from error

    def _no_version(self, key: str, version: str) -> NoSuchKeyError:
        return NoSuchKeyError(f"The key {key} in the key store {self.address.name} has no version {version[:20]}.")

    def _not_usable(self, key: str, version: str) -> NotUsableError:
        return NotUsableError(
            f"Version {version} of the key {key} in the key store {self.address.name} is below the smallest version "
            "that may be used."
        )

    def _taken(self, key: str) -> KeyExistsError:
        return KeyExistsError(f"The key store {self.address.name} has a key {key} already.")
