"""Granting exceptions to clauses: accepted by several people, for a time, and never compliant."""

from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.errors import KeyMaterialError
from inventory.models import ExceptionState, Key, PolicyClause, PolicyException
from inventory.permits import Permit
from inventory.recognise import holds_key_material
from inventory.selectors import rules, share_clauses
from inventory.services.exceptions import ExceptionTerms, accepted_words, check_exception, follow
from inventory.services.findings import refresh_findings
from inventory.services.keys import require


@transaction.atomic
def grant_exception(
    *,
    key: int,
    clause: int,
    terms: ExceptionTerms,
    permit: Permit,
    actor: Actor,
    reason: str,
    now: datetime,
) -> PolicyException:
    """Accept until an instant that a key, given by id, does not do what a clause demands.

    What stood for the two before is superseded. Nobody changes a clause meanwhile; locks the key.
    Events: exception.granted, and those of refresh_findings().
    Raises: KeyGoneError, NotBoundError, ExceptionLengthError, KeyMaterialError, ValidationError.
    """
    require(reason)
    check_said(terms)
    share_clauses()
    locked = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=key)
    excepted = PolicyClause.objects.get(pk=clause)
    limit = check_exception(locked, excepted, terms.until, now)
    before = PolicyException.objects.filter(key=locked, clause=excepted, state=ExceptionState.STANDING).first()
    if before:
        before.state, before.closed_at = ExceptionState.SUPERSEDED, now
        before.save(update_fields=["state", "closed_at"])
    granted = PolicyException(
        key=locked,
        clause=excepted,
        compensating_control=terms.compensating_control,
        residual_risk=terms.residual_risk,
        reason=reason,
        granted_at=now,
        until=terms.until,
        longest_days=limit.longest_days,
        request=permit.request,
    )
    granted.full_clean()
    granted.save()
    accepted = accepted_words(locked)
    follow(locked, rules())
    subject = _granted(granted, before, accepted)
    record(Action.EXCEPTION_GRANTED, actor=actor, now=now, reason=reason, subjects=[subject], facts=permit.facts)
    refresh_findings(keys=[locked.pk], actor=actor, now=now)
    return granted


def check_said(terms: ExceptionTerms) -> None:
    """Raise KeyMaterialError for a text with a secret in it."""
    texts = {"compensating control": terms.compensating_control, "residual risk": terms.residual_risk}
    for name, said in texts.items():
        if holds_key_material(said):
            raise KeyMaterialError(name)


def _granted(granted: PolicyException, before: PolicyException | None, accepted: dict[str, JSON]) -> Subject:
    """Describe for the log what a key is excepted from, and until when it is accepted by all that stands."""
    renewed: dict[str, JSON] = {"exception": before.ref} if before else {}
    after: dict[str, JSON] = {
        "exception": granted.ref,
        "excepted_from": granted.clause.ref,
        "compensating_control": granted.compensating_control,
        "residual_risk": granted.residual_risk,
        "excepted_until": granted.until.isoformat(),
        "longest_days": granted.longest_days,
    }
    key = granted.key
    return Subject(ref=key.ref, label=key.name, before=renewed | accepted, after=after | accepted_words(key))
