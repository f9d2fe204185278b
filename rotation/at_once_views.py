"""The pages by which one person acts at once. Each says first what will happen, and asks for a second factor."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import actor_of
from audit.services import Subject, record_refusal
from audit.step_up import requires_step_up
from inventory.chips import Chip, state_chip
from inventory.errors import InventoryError
from inventory.forms import ReasonForm
from inventory.models import Key
from inventory.services.questions import ROTATION
from inventory.states import State
from inventory.views import Page, form_page, key_for
from rotation import at_once
from rotation.approvals import Proof
from rotation.at_once import REVOKE, ROTATE_KEK, Shown
from rotation.at_once_forms import GlassForm, GlassKekForm, GlassRevokeForm, GlassRotationForm, ReportForm
from rotation.errors import ProofRefusedError, RotationError
from rotation.models import Duty, Request
from rotation.selectors import open_glass
from rotation.tasks import nudge_mail, nudge_request

OTHERS_LOOK = "Somebody else of Security or DevOps looks at it within 24 hours."
ELSEWHERE = "Nothing is switched off where the key is kept: tell the services that use it."


@requires_step_up
def suspend(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Suspend a key at once."""
    key = key_for(request, pk, "suspend_key")
    page = Page(
        f"Suspend {key.name}",
        f"From now on it must not protect anything new. {ELSEWHERE} {OTHERS_LOOK} Taking it back into use needs two "
        "people.",
        "Suspend it now",
        state_chip(State.SUSPENDED),
    )
    form = ReasonForm(request.POST or None)
    return form_page(admin, request, form, page, partial(_act, request, form, key, _suspend), "is suspended", key)


def _suspend(**how: Any) -> Key:  # noqa: ANN401 - as the service takes it
    return at_once.suspend(**how)


class Effect(NamedTuple):
    """What a report does to a key in some state."""

    becomes: Chip
    consequence: str
    done: str


_ASKED = (
    "Its revocation is asked for in your name, and others vote on it: one person of Security and one of DevOps, never "
    "you."
)
_KNOWN = Effect(
    state_chip(State.COMPROMISED),
    f"It may protect nothing, and what it protected must be taken to be known. {OTHERS_LOOK}",
    "is recorded as compromised. Security and DevOps are told by mail",
)
EFFECTS: Mapping[State, Effect] = {
    State.PRE_ACTIVATION: _KNOWN,
    State.DEACTIVATED: _KNOWN,
    State.ACTIVE: Effect(
        state_chip(State.SUSPENDED),
        f"At once: from now on it must not protect anything new. {_ASKED} {ELSEWHERE} {OTHERS_LOOK}",
        "is suspended, and its revocation waits for the votes of others. Security and DevOps are told by mail",
    ),
    State.SUSPENDED: Effect(
        state_chip(State.SUSPENDED), f"As it is already. {_ASKED} {OTHERS_LOOK}",
        "stays suspended, and its revocation waits for the votes of others. Security and DevOps are told by mail",
    ),
    State.DESTROYED: Effect(
        state_chip(State.DESTROYED_COMPROMISED),
        f"Its material is gone; what it protected before must be taken to be known. {OTHERS_LOOK}",
        "is marked as compromised before it was destroyed. Security and DevOps are told by mail",
    ),
}  # fmt: skip


@requires_step_up
def report(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Report that others may know a key: for everybody with a role, whoever answers for it."""
    key = key_for(request, pk, "view_key")
    effect = EFFECTS.get(State(key.state))
    if effect is None:
        messages.info(request, f"{key.name} is recorded as compromised already. What is new belongs into its notes.")
        return redirect("admin:inventory_key_change", pk)
    page = Page(f"Report a compromise of {key.name}", effect.consequence, "Report it now", effect.becomes)
    form = ReportForm(request.POST or None)
    return form_page(admin, request, form, page, partial(_act, request, form, key, _report), effect.done, key)


def _report(**how: Any) -> Key:  # noqa: ANN401 - as the service takes it
    return at_once.report_compromise(**how).key


def _act(request: HttpRequest, form: ReasonForm, key: Key, service: Callable[..., Key]) -> Key:
    reason = form.cleaned_data["reason"]
    try:
        done = service(pk=key.pk, actor=actor_of(request), reason=reason, now=timezone.now())
    except RotationError as error:  # form_page() knows the rules of the inventory
        raise InventoryError(str(error)) from error
    transaction.on_commit(nudge_mail, robust=True)
    return done


# Break-glass

FORMS: Mapping[str, type[GlassForm]] = {
    REVOKE: GlassRevokeForm,
    ROTATION: GlassRotationForm,
    ROTATE_KEK: GlassKekForm,
}
# What one does alone, without whose votes, and what the button says.
WORDS = {
    REVOKE: ("revoke it", "the votes of Security and DevOps", "Revoke it alone, now"),
    ROTATION: ("count a rotation", "the vote of DevOps", "Count it alone, now"),
    ROTATE_KEK: ("have it rotated in its key store", "the vote of Security", "Rotate it alone, now"),
}


@requires_step_up
@sensitive_variables()
def revoke_alone(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Break the glass to revoke a key."""
    return _break_glass(admin, request, pk, REVOKE)


@requires_step_up
@sensitive_variables()
def rotate_alone(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Break the glass to count a rotation that was done elsewhere."""
    return _break_glass(admin, request, pk, ROTATION)


@requires_step_up
@sensitive_variables()
def rotate_kek_alone(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Break the glass to have a KEK rotated."""
    return _break_glass(admin, request, pk, ROTATE_KEK)


@sensitive_variables()
def _break_glass(admin: ModelAdmin, request: HttpRequest, pk: int, operation: str) -> HttpResponse:
    """Do alone what needs votes. What will happen is shown first; the code that is entered then is for exactly that."""
    key = key_for(request, pk, "view_key")
    if not request.user.has_perm("inventory.suspend_key"):
        raise PermissionDenied
    form, now = FORMS[operation](request.POST or None), timezone.now()
    looked = Looked()
    if form.is_valid() or (not form.is_bound and operation != ROTATION):
        looked = _look(request, form, operation, key, now)
    if looked.shown is not None and form.is_bound:
        made = _broken(request, form, operation, key, looked.shown, now)
        if made is not None:
            messages.warning(request, "You have broken the glass. Everybody is told, and two people look at it.")
            return redirect("admin:rotation_request_change", made.pk)
    return _glass_page(admin, request, key, operation, form, looked)


class Looked(NamedTuple):
    """What would happen; or why it cannot, where no form was sent that could say it."""

    shown: Shown | None = None
    why_not: str = ""


def _look(request: HttpRequest, form: GlassForm, operation: str, key: Key, now: datetime) -> Looked:
    try:
        return Looked(
            at_once.show_glass(operation=operation, entered=form.entered(key), actor=actor_of(request), now=now)
        )
    except ValidationError as error:
        why_not = error.messages
    except (InventoryError, RotationError) as error:
        why_not = [str(error)]
    if form.is_bound:
        form.add_error(None, why_not)
    return Looked(why_not=" ".join(why_not))


def _broken(
    request: HttpRequest, form: GlassForm, operation: str, key: Key, shown: Shown, now: datetime
) -> Request | None:
    """Break the glass if what was shown is what would happen now; what refuses it stands in the form and in the log."""
    said = form.cleaned_data
    if said["shown"] != shown.digest.hex():
        return None
    if not said["code"] and not said["answer"]:
        form.add_error("code", "Type the code of your authenticator app, or use a passkey.")
        return None
    try:
        made = at_once.break_glass(
            operation=operation,
            entered=form.entered(key),
            digest=shown.digest,
            actor=actor_of(request),
            reason=said["reason"],
            proof=_proof(request, form, shown.digest, now),
            now=now,
        )
    except ValidationError as error:
        form.add_error(None, error.messages)
    except (InventoryError, RotationError) as error:
        _refused(request, key, operation, error)
        form.add_error("code" if isinstance(error, ProofRefusedError) else None, str(error))
    else:
        transaction.on_commit(partial(nudge_request, made.pk), robust=True)
        transaction.on_commit(nudge_mail, robust=True)
        return made
    return None


@sensitive_variables()
def _proof(request: HttpRequest, form: GlassForm, digest: bytes, now: datetime) -> Proof:
    answer = form.cleaned_data["answer"]
    take = import_string(settings.VOTE_CHALLENGE)
    challenge = take(request, digest=digest, now=now) if answer else None
    return Proof(code=form.cleaned_data["code"], answer=answer, challenge=challenge)


def _refused(request: HttpRequest, key: Key, operation: str, error: Exception) -> None:
    record_refusal(
        Action.GLASS_BROKEN,
        actor=actor_of(request),
        now=timezone.now(),
        subjects=[Subject(ref=key.ref, label=key.name)],
        facts={"operation": operation, "refused": str(error)},
    )


def _glass_page(
    admin: ModelAdmin, request: HttpRequest, key: Key, operation: str, form: GlassForm, looked: Looked
) -> HttpResponse:
    person: Any = request.user
    shown = looked.shown
    still_open: Duty | None = open_glass(person.pk)
    return TemplateResponse(request, "admin/rotation/duty/break_glass.html", {
        **admin.admin_site.each_context(request),
        "title": f"Break the glass over {key.name}",
        "opts": admin.opts,
        "key": key,
        "form": form,
        "shown": shown,
        "digest": shown.digest.hex() if shown else "",
        "was_shown": bool(shown and form.is_bound and form.data.get("shown") == shown.digest.hex()),
        "why_not": "" if form.is_bound else looked.why_not,
        "still_open": still_open,
        "words": WORDS[operation],
        "has_passkey": person.passkeys.filter(confirmed=True).exists(),
    })  # fmt: skip
