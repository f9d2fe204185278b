"""Handing out wrapped DEKs: a service that opens its own at the key store depends on that version of the KEK."""

from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.envelope import context_of, unpack
from inventory.errors import HandOutError, NoDekError
from inventory.models import DekVersion, HandOut, Key, Service, Wrapping
from inventory.services.deks.making import check_may
from inventory.services.keys import require
from inventory.states import Act


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What a service needs to open its DEK at the key store, and who it was given to."""

    hand_out: HandOut
    uri: str
    algorithm: str
    kek_version: str  # as the store names it
    wrapped: bytes = field(repr=False)  # envelope.pack()
    context: bytes = field(repr=False)

    @property
    def ciphertext(self) -> bytes:
        """Return what the store itself takes."""
        return unpack(self.wrapped).ciphertext


@transaction.atomic
def hand_out(
    *, dek: int, service: Service, number: int | None = None, actor: Actor, reason: str, now: datetime
) -> Handed:
    """Give a service the newest wrapping of a DEK, of its current version or of an earlier one it still reads with.

    For the worker and for commands: web may read no wrapped bytes. The same copy to the same service again is the same
    hand-out. Locks the key against rotation, and the hand-out that is there against being confirmed meanwhile.
    Event: dek.handed_out. Raises: NoDekError, NotAllowedNowError.
    """
    require(reason)
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=dek)
    version = dek_version(key, number)
    check_may(version.version, Act.PROCESS, now)
    wrapping = newest_wrapping(version)
    kek_version = wrapping.kek_version
    check_may(kek_version.version, Act.PROCESS, now)
    given, _ = HandOut.objects.select_for_update().get_or_create(
        dek_version=version,
        kek_version=kek_version,
        service=service,
        confirmed_at=None,
        defaults={"handed_at": now, "handed_by": actor.id},
    )
    facts: dict[str, JSON] = {
        "service": service.ref,
        "service_name": service.name,
        "uri": kek_version.kek.uri,
        "kek_version": kek_version.store_id,
        "hand_out": given.pk,
    }
    subject = Subject(ref=key.ref, label=key.name, after={"version": version.number})
    record(Action.DEK_HANDED_OUT, actor=actor, now=now, reason=reason, subjects=[subject], facts=facts)
    return Handed(
        hand_out=given,
        uri=kek_version.kek.uri,
        algorithm=kek_version.kek.algorithm,
        kek_version=kek_version.store_id,
        wrapped=bytes(wrapping.wrapped),
        context=bytes(version.context) or context_of(version.dek_id, version.number),
    )


def dek_version(key: Key, number: int | None) -> DekVersion:
    """Return a version of a DEK whose wrapped bytes are there; the current one if none is named. Raises: NoDekError."""
    wanted = DekVersion.objects.select_related("version__key").filter(key=key, number=number or key.current_number)
    found = wanted.filter(cleared_at=None).first()
    if found is None:
        raise NoDekError(f"{key.name}, version {number or key.current_number},")
    return found


def newest_wrapping(version: DekVersion) -> Wrapping:
    """Return the wrapping under the latest version of the KEK. Raises: NoDekError."""
    rows = Wrapping.objects.filter(dek_version=version).select_related("kek_version__version__key", "kek_version__kek")
    found = rows.order_by("-kek_version").first()
    if found is None:
        raise NoDekError(f"{version.key.name}, version {version.number},")
    return found


@transaction.atomic
def confirm_hand_out(*, pk: int, actor: Actor, reason: str, now: datetime) -> HandOut:
    """Note that a service uses a copy no more, because it has a later one or needs none. Locks the hand-out.

    `reason` says how that is known. Event: dek.hand_out_confirmed. Raises: HandOutError.
    """
    require(reason)
    rows = HandOut.objects.select_related("dek_version__key", "kek_version__kek", "service")
    rows = rows.defer("kek_version__canary")  # which web may not read
    given = rows.select_for_update(of=("self",)).filter(pk=pk).first()
    if given is None:
        raise HandOutError(f"There is no hand-out {pk}. The page of the DEK lists its hand-outs.")
    if given.confirmed_at is not None:
        raise HandOutError(f"This was confirmed on {given.confirmed_at:%-d %B %Y} already.")
    key = given.dek_version.key
    facts: dict[str, JSON] = {
        "service": given.service.ref,
        "service_name": given.service.name,
        "uri": given.kek_version.kek.uri,
        "kek_version": given.kek_version.store_id,
        "hand_out": given.pk,
    }
    subject = Subject(ref=key.ref, label=key.name, after={"version": given.dek_version.number})
    record(Action.DEK_HAND_OUT_CONFIRMED, actor=actor, now=now, reason=reason, subjects=[subject], facts=facts)
    given.confirmed_at, given.confirmed_by = now, actor.id  # after its event, which the database asks for
    given.save(update_fields=["confirmed_at", "confirmed_by"])
    return given
