"""The end of a version of a DEK: first somebody says that nothing is encrypted under it, then others vote."""

from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import asking
from inventory.asking import Asked
from inventory.errors import ClearingError, KeyMaterialError
from inventory.models import DekVersion, HandOut, Key
from inventory.recognise import holds_key_material
from inventory.services.deks.hands import dek_version
from inventory.services.keys import require
from inventory.states import State, legal

CLEAR = "dek.clear"  # the operation that takes the wrapped bytes away


@transaction.atomic
def confirm_reencrypted(
    *, dek: int, number: int, evidence: str, actor: Actor, reason: str, now: datetime
) -> tuple[DekVersion, Asked]:
    """Note that nothing is encrypted under an earlier version of a DEK any more, and ask to have its bytes cleared.

    `evidence` says how that is known: a job, a count of zero. Locks the key. Events: dek.reencrypted, and those of
    asking. Raises: ClearingError, NoDekError, KeyMaterialError, and what the engine of approvals says.
    """
    require(reason)
    if not evidence.strip():
        raise ClearingError("Say how it is known that nothing is encrypted under this version any more.")
    if holds_key_material(evidence):
        raise KeyMaterialError("evidence")
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=dek)
    version = dek_version(key, number)
    check_over(key, version)
    if version.reencrypted_at is None:
        version.reencrypted_at, version.reencrypted_by = now, actor.id
        version.save(update_fields=["reencrypted_at", "reencrypted_by"])
        subject = Subject(ref=key.ref, label=key.name, after={"version": number})
        facts: dict[str, JSON] = {"evidence": evidence}
        record(Action.DEK_REENCRYPTED, actor=actor, now=now, reason=reason, subjects=[subject], facts=facts)
    asked = asking.ask(CLEAR, {"key": key.pk, "number": number}, actor=actor, reason=reason, now=now)
    return version, asked


def check_over(key: Key, version: DekVersion) -> None:
    """Refuse a version that the key still has, or whose material may not be destroyed.

    Raises: ClearingError, IllegalTransitionError.
    """
    if version.number == key.current_number:
        raise ClearingError(
            f"Version {version.number} is the one that {key.name} has now. Rotate it first, or destroy the whole key."
        )
    legal(State(version.version.state), State.DESTROYED)


def check_clearable(key: Key, version: DekVersion) -> None:
    """Refuse, besides, what still encrypts something or is in use at a service. Queries: 1.

    Raises: ClearingError, IllegalTransitionError.
    """
    check_over(key, version)
    if version.reencrypted_at is None:
        raise ClearingError(
            f"Nobody has confirmed yet that nothing is encrypted under version {version.number} of {key.name}."
        )
    held = HandOut.objects.filter(dek_version=version, confirmed_at=None).values_list("service__name", flat=True)
    if names := sorted(set(held)):
        raise ClearingError(
            f"Version {version.number} of {key.name} was handed out, and these have not confirmed that they use it no "
            f"more: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}."  # noqa: PLR2004
        )
