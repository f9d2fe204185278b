"""Linking a record of the inventory, such as one that was imported, to the KEK in a store that it is about."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject
from inventory import lifecycle
from inventory.algorithms import claims
from inventory.errors import NotLinkableError
from inventory.guarded.keks import Generation, Voted, settle
from inventory.models import Kek, Key
from inventory.selectors import rules
from inventory.services.findings import refresh_findings
from inventory.services.keys import DERIVED, change_facts, differing, edited, require, snapshot, store
from inventory.states import State
from inventory.terms import KeyKind


def check_linkable(key: Key, *, uri: str, algorithm: str, size_bits: int) -> None:
    """Refuse what is no KEK in use, is linked already, or says that it is something else than what the store keeps.

    Queries: 2. Raises: NotLinkableError.
    """
    if key.kind != KeyKind.KEK:
        raise NotLinkableError(f"{key.name} is no key-encrypting key: its record says {key.get_kind_display()}.")
    if key.state != State.ACTIVE:
        state = key.get_state_display().lower()
        raise NotLinkableError(f"{key.name} is {state}. Only a record of a KEK that is active is linked to a store.")
    linked = Kek.objects.filter(pk=key.pk).first()
    if linked is not None:
        raise NotLinkableError(f"{key.name} is linked already, to {linked.uri}.")
    if other := Kek.objects.filter(uri=uri).select_related("key").first():
        raise NotLinkableError(f"{uri} is the KEK of another record already: {other.key.name}.")
    if not agrees(key, algorithm, size_bits):
        said = f"{key.algorithm}{f', {key.size_bits} bits' if key.size_bits else ''}"
        raise NotLinkableError(
            f"The record of {key.name} says {said}, and the KEK {uri} is {algorithm}, {size_bits} bits. Mend the "
            "record if it is wrong; if not, this is another key."
        )


def agrees(key: Key, algorithm: str, size_bits: int) -> bool:
    """Whether a record can be about a KEK of that algorithm. One that names none contradicts nothing."""
    if not key.algorithm:
        return key.size_bits in {None, size_bits}
    there = {(_family(one.family), one.bits) for one in claims(algorithm, size_bits, KeyKind.KEK)}
    said = {(_family(one.family), one.bits) for one in claims(key.algorithm, key.size_bits, KeyKind.KEK)}
    return bool(there & said)


def _family(name: str) -> str:
    """Return "AES" for "AES-KW": how it wraps is the store's to say."""
    return name.partition("-")[0]


@transaction.atomic
def link_kek(  # noqa: PLR0913 - a KEK has these
    *,
    pk: int,
    facts: Mapping[str, Any],
    uri: str,
    algorithm: str,
    generations: Sequence[Generation],
    canary: bytes,
    told: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> Kek:
    """Link a record to the KEK of its store, which says from now on the `facts`; everything else of it stays.

    The newest of `generations` is the record's current version, and so on backwards. Where the store has more than the
    record, it gets the ones that it lacks, as of the day on which it was last rotated, which it must say for that.
    Locks the key. Events: key.edited, key.rotated for each version it lacks, kek.linked, and those of
    refresh_findings(). Raises: NotLinkableError, ValidationError.
    """
    voted = Voted(told=told, actor=actor, reason=reason, now=now)
    require(voted.reason)
    clauses = rules(hold=True)
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    check_linkable(key, uri=uri, algorithm=str(facts["algorithm"]), size_bits=int(facts["size_bits"]))
    before, changes = snapshot(key), differing(key, facts)
    if changes:
        change_facts(key, changes, clauses, may_be_less_late=True)
        store(key, update_fields=[*changes, *DERIVED])
        voted.tell(Action.KEY_EDITED, [edited(key, before)])
    _catch_up(key, len(generations), voted)
    try:
        with transaction.atomic():
            kek = settle(key, uri=uri, algorithm=algorithm, generations=generations, canary=canary, voted=voted)
    except (IntegrityError, ValidationError) as error:
        if not Kek.objects.filter(uri=uri).exists():
            raise
        raise NotLinkableError(f"{uri} is the KEK of another record already, since a moment ago.") from error
    refresh_findings(keys=[key.pk], actor=voted.actor, now=voted.now)
    return kek


def _catch_up(key: Key, count: int, voted: Voted) -> None:
    """Give a locked record as many versions as its store has of the KEK."""
    if key.current_number >= count:
        return
    day = key.last_rotated_on
    if day is None:
        raise NotLinkableError(
            f"The store has {count} versions of it, and the record of {key.name} does not say when it was last "
            "rotated. Say so on its page, then have this tried again."
        )
    while key.current_number < count:
        number = key.current_number
        after: dict[str, JSON] = {"version": number + 1, "last_rotated_on": day.isoformat()}
        said = Subject(ref=key.ref, label=key.name, before={"version": number}, after=after)
        event = voted.tell(Action.KEY_ROTATED, [said], {"linked": True})
        lifecycle.supersede(key, rotated_on=day, event=event)
        key.revision += 1
        key.save(update_fields=["revision"])
