"""The keys of this very installation, as records like any other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from typing import Any

from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.body import Subject
from audit.held_keys import present_master_key
from audit.services import record
from inventory import asking
from inventory.errors import InventoryError, OwnerNeededError
from inventory.models import Owner, OwnKey, RotationEvidence, Service
from inventory.recognise import NotUnderstoodError, person_of
from inventory.services.held import hold_rotation
from inventory.services.keys import register_key, require
from inventory.services.mentioned import People
from inventory.services.owners import edit_owner, register_owner, register_service
from inventory.services.questions import ROTATION

SERVICE = "Keyvault Admin"
MASTER_KEY_ID_LABEL = b"keyvault-admin/master-key/id/v1\0"
REGISTERED = "registered"
UNCHANGED = "as recorded"
# What a report says, and what later runs read in it: they belong together.
_EVIDENCE = "The installation has another key than before: key id {present}, where it was {before}."
_REPORTED = re.compile(_EVIDENCE.format(present="([0-9a-f]{8})", before="[0-9a-f]{8}"))


@dataclass(frozen=True, kw_only=True)
class OwnFacts:
    """One key as the installation has it now."""

    code: str  # by which its record is found again
    material_id: bytes  # 4 public bytes, others after each rotation
    facts: Mapping[str, Any]  # of the key, for its registration: name, kind, where it is kept …


@dataclass(frozen=True, kw_only=True)
class House:
    """Who has the keys; asked for only while something is to be registered. People as an import reads them."""

    owner: str = ""
    team: str = ""  # of the service; the owner if not given
    tier: int = 3
    environment: str = ""
    made_on: date | None = None  # the day on which the present keys were made


@dataclass(frozen=True, kw_only=True)
class Became:
    """What a run did with one key."""

    name: str
    words: str
    is_settled: bool = True  # False where a rotation could not be reported: the next run tries again


@transaction.atomic
def note_master_key(*, master_key: bytes, kept_in: str, actor: Actor, now: datetime) -> bool:
    """Let the log say which master key the worker holds, if it does not yet; return whether it was new.

    The worker alone holds it: what the command that registers keys knows of it stands in the log. Event:
    master_key.noted, with 4 bytes that tell one generation from the next, and nothing of the key.
    """
    _alone()
    known = sha256(MASTER_KEY_ID_LABEL + master_key).digest()[:4], kept_in
    if present_master_key() == known:
        return False
    facts = {"key_id": known[0].hex(), "kept_in": kept_in}
    record(
        Action.MASTER_KEY_NOTED,
        actor=actor,
        now=now,
        subjects=[Subject(ref=f"master_key:{known[0].hex()}", label="master key")],
        facts=facts,
    )
    return True


@transaction.atomic
def register_own_keys(
    *, keys: Sequence[OwnFacts], house: House, actor: Actor, reason: str, now: datetime
) -> list[Became]:
    """Register the keys that have no record yet, and report the rotation of those that are others than recorded.

    A rotation that is reported so waits, like every other, for somebody of DevOps to approve it; the command stands as
    who asked. What people wrote on a record stays. One run at a time. Events: key.registered, owner.registered and
    service.registered as needed, and those of hold_rotation(). Raises: InventoryError, ValidationError.
    """
    require(reason)
    _alone()
    known = {own.code: own for own in OwnKey.objects.select_related("key")}
    keeper = _Keeper(house, actor, now) if keys and not {key.code for key in keys} <= known.keys() else None
    became = []
    for key in keys:
        if own := known.get(key.code):
            became.append(_compared(own, key, actor, now))
        elif keeper:
            became.append(_registered(key, keeper, reason))
    return became


def _alone() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('inventory.own_keys'))")


class _Keeper:
    """Finds, or registers, who has the keys and what they are for."""

    def __init__(self, house: House, actor: Actor, now: datetime) -> None:
        self.actor, self.now = actor, now
        if not house.owner.strip():
            raise OwnerNeededError
        owner = self._owner(house.owner)
        service = Service.objects.filter(name=SERVICE).first() or register_service(
            name=SERVICE,
            description="The inventory of keys itself.",
            team=self._owner(house.team) if house.team.strip() else owner,
            tier=house.tier,
            actor=actor,
            now=now,
        )
        self.facts = {
            "owner": owner,
            "creator": owner,
            "service": service,
            "environment": house.environment,
            "created_on": house.made_on,
            "never_rotated": house.made_on is not None,
        }

    def _owner(self, text: str) -> Owner:
        """Return the owner of a name or address; an unknown one is registered if the address is there."""
        try:
            ref = person_of(text)
        except NotUnderstoodError as error:
            raise OwnerNeededError(str(error)) from error
        people = People([ref] if ref else [], [ref] if ref else [])
        owner = people.find(ref)
        if owner is None or (owner in people.new and not owner.mail):
            raise OwnerNeededError(f"Nobody who answers for keys is called {text}.")
        if owner in people.new:
            return register_owner(handle=owner.handle, mail=owner.mail, kind=owner.kind, actor=self.actor, now=self.now)
        if owner in people.with_mail:
            return edit_owner(
                pk=owner.pk,
                changes={"mail": owner.mail},
                expected_revision=owner.revision,
                actor=self.actor,
                reason="named as the owner of the installation's own keys",
                now=self.now,
            )
        return owner


def _registered(said: OwnFacts, keeper: _Keeper, reason: str) -> Became:
    key = register_key(facts={**keeper.facts, **said.facts}, actor=keeper.actor, reason=reason, now=keeper.now)
    OwnKey(code=said.code, key=key, material_id=said.material_id.hex()).save(force_insert=True)
    return Became(name=key.name, words=f"{REGISTERED}, key id {said.material_id.hex()}")


def _compared(own: OwnKey, said: OwnFacts, actor: Actor, now: datetime) -> Became:
    """Report that the key is another one than the record, or a report on it that waits, speaks of."""
    before, present = _known_id(own), said.material_id.hex()
    if before == present:
        return Became(name=own.key.name, words=f"{UNCHANGED}, key id {present}")
    evidence = _EVIDENCE.format(present=present, before=before)
    try:
        with transaction.atomic():
            asked = hold_rotation(pk=own.key_id, rotated_on=now.date(), evidence=evidence, actor=actor, now=now)
    except InventoryError as error:
        words = f"rotated (key id {present}, was {before}), but that is not reported yet: {error}"
        return Became(name=own.key.name, words=words, is_settled=False)
    words = f"rotated (key id {present}, was {before}); {asked.ref} waits for somebody of DevOps to approve it"
    return Became(name=own.key.name, words=words)


def _known_id(own: OwnKey) -> str:
    """Return the id that the newest report names which waits or was approved, else the one that was registered.

    What was rejected, or overtaken by another change of the record, is not on record: it is reported again. Evidence is
    never changed, and what no person reported comes from here.
    """
    ref = own.key.ref
    asked = [*asking.live([ref]).get(ref, ()), *asking.done(ROTATION, [ref]).get(ref, ())]
    reports = RotationEvidence.objects.filter(
        key=own.key_id,
        pk__in=[one.parameters["evidence"] for one in asked if one.operation == ROTATION],
        reported_by=None,
    )
    texts = reports.order_by("-pk").values_list("text", flat=True)
    return next((found[1] for text in texts if (found := _REPORTED.fullmatch(text))), own.material_id)
