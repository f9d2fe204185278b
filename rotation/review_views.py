"""The page of a review: the sample with its verdicts, and the two signatures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit import ranges
from audit.actions import Action
from audit.actor import actor_of
from audit.services import record_refusal
from audit.step_up import requires_step_up
from inventory.errors import InventoryError
from rotation import reviews
from rotation.errors import NotReviewerError, OneRoleEachError, OwnTransitionError, RotationError
from rotation.models import Review, ReviewItem, ReviewState, Verdict
from rotation.review_forms import ItemForm
from rotation.review_wording import due_chip, item_form, keys_of, places, rows, state_chip
from rotation.reviews import Judgement
from rotation.reviews.pieces import rules_of, subject
from rotation.selectors import items_of, signing_roles, standing_signatures

# The page offered none of these, so whoever sends one leaves a trace.
_NOT_THEIRS = (NotReviewerError, OneRoleEachError, OwnTransitionError)
_DIGEST_CHARACTERS = 64


@dataclass(frozen=True)
class Sent:
    """What came of a form that was refused: the forms as they were filled, and why."""

    forms: dict[int, ItemForm] | None = None
    problems: Sequence[str] = ()


def page(admin: ModelAdmin, request: HttpRequest, pk: str, sent: Sent | None = None) -> HttpResponse:
    """Show a review, and to whom it belongs what they may do now. Queries: 8 of its own, however long the sample."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    review = get_object_or_404(Review, pk=pk if pk.isdecimal() else None)
    items = items_of(review)
    return TemplateResponse(request, "admin/rotation/review/review.html", {
        **admin.admin_site.each_context(request),
        "title": f"Review of {review.get_kind_display()}",
        "opts": admin.opts,
        "review": review,
        **_context(request, review, items, sent or Sent()),
    })  # fmt: skip


def _context(request: HttpRequest, review: Review, items: Sequence[ReviewItem], sent: Sent) -> dict[str, Any]:
    now, person, rules = timezone.now(), request.user.pk or 0, rules_of(review)
    is_open = review.state == ReviewState.OPEN
    own_roles = signing_roles(person, rules.roles)
    may_judge = is_open and bool(own_roles)
    shown = rows(items, person, forms=(sent.forms or {}) if may_judge else None)
    unjudged = sum(item.verdict == Verdict.NONE for item in items)
    altered = [row.item.event_number for row in shown if row.is_altered]
    raw = reviews.content(review, items)
    signatures = list(review.signatures.select_related("person", "voided_by").order_by("signed_at", "pk"))
    standing = [one for one in signatures if one.voided_at is None]
    signing = places(
        rules.roles,
        standing,
        items,
        person=person,
        own_roles=own_roles,
        is_ready=is_open and not unjudged and not altered,
    )
    return {
        "now": now,
        "rules": rules,
        "due_chip": due_chip(review, now),
        "state_chip": state_chip(review),
        "rows": shown,
        "problems": sent.problems,
        "unjudged": unjudged,
        "found": sum(item.verdict == Verdict.FINDING for item in items),
        "altered": altered,
        "is_open": is_open,
        "may_judge": may_judge and any(row.form for row in shown),
        "own_count": sum(row.is_own for row in shown),
        "places": signing,
        "missing": [place.role for place in signing if place.signature is None],
        "has_signed": any(one.person_id == person for one in standing),
        "void": [one for one in signatures if one.voided_at is not None],
        "weeks": round((review.period_to - review.period_from) / rules.every) * rules.every.days // 7,
        "is_long": review.period_to - review.period_from > rules.every,
        "digest": reviews.content_digest(review, items).hex(),
        "content": raw.decode(),
        "seed": bytes(review.seed).hex(),
    }


def judge(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Save the verdicts that somebody gave or changed."""
    review = _sent_to(admin, request, pk)
    if isinstance(review, HttpResponse):
        return review
    forms = _forms(request, review)
    judged = {item: form for item, form in forms.items() if form.is_judged}
    if not all(form.is_valid() for form in judged.values()):
        return page(admin, request, str(pk), Sent(forms, ["Nothing was saved. Mend what is marked below."]))
    try:
        stood = bool(standing_signatures(review))
        reviews.judge_items(
            pk=pk,
            judgements=[_judgement(item, form) for item, form in judged.items()],
            actor=actor_of(request),
            now=timezone.now(),
        )
    except _NOT_THEIRS as error:
        _refused(request, review, Action.REVIEW_ITEM_JUDGED, error)
        raise PermissionDenied(str(error)) from error
    except (RotationError, InventoryError) as error:
        return page(admin, request, str(pk), Sent(forms, [str(error)]))
    except ValidationError as error:
        return page(admin, request, str(pk), Sent(forms, error.messages))
    _say_saved(request, len(judged), voided=stood and not standing_signatures(review))
    return redirect("admin:rotation_review_change", pk)


def _forms(request: HttpRequest, review: Review) -> dict[int, ItemForm]:
    """Return the forms of the items that were sent. What is one's own is none of the page's; it is read all the same,
    so that the service refuses it."""
    items = [item for item in items_of(review) if f"item-{item.pk}-seen" in request.POST]
    events = ranges.numbered([item.event_number for item in items])
    found = {}
    for item in items:
        event = events.get(item.event_number)
        keys = keys_of(event.said.subjects) if event and event.said else []
        found[item.pk] = item_form(item, keys, request.POST)
    return found


def _judgement(item: int, form: ItemForm) -> Judgement:
    said = form.cleaned_data
    return Judgement(
        item=item,
        verdict=Verdict(said["verdict"]),
        words=said["words"],
        follow_up=said["follow_up"],
        seen=said["seen"],
    )


def _say_saved(request: HttpRequest, count: int, *, voided: bool) -> None:
    if not count:
        messages.info(request, "Nothing was changed, so nothing was saved.")
        return
    said = f"{count} verdict{' is' if count == 1 else 's are'} saved."
    if voided:
        messages.warning(request, f"{said} What was signed before is void, because it was over other verdicts.")
    else:
        messages.success(request, said)


@requires_step_up
def sign(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Sign what the page showed."""
    review = _sent_to(admin, request, pk)
    if isinstance(review, HttpResponse):
        return review
    role = request.POST.get("role", "")
    try:
        digest = bytes.fromhex(request.POST.get("digest", "")[:_DIGEST_CHARACTERS])
    except ValueError:
        digest = b""
    try:
        done = reviews.sign_review(pk=pk, role=role, digest=digest, actor=actor_of(request), now=timezone.now())
    except _NOT_THEIRS as error:
        _refused(request, review, Action.REVIEW_SIGNED, error)
        raise PermissionDenied(str(error)) from error
    except RotationError as error:
        return page(admin, request, str(pk), Sent(problems=[str(error)]))
    said = "It is complete." if done.state == ReviewState.SIGNED else "It waits for the other signature."
    messages.success(request, f"You have signed for {role}. {said}")
    return redirect("admin:rotation_review_change", pk)


def _sent_to(admin: ModelAdmin, request: HttpRequest, pk: int) -> Review | HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not admin.has_view_permission(request):
        raise PermissionDenied
    return get_object_or_404(Review, pk=pk)


def _refused(request: HttpRequest, review: Review, action: Action, error: RotationError) -> None:
    record_refusal(
        action,
        actor=actor_of(request),
        now=timezone.now(),
        subjects=[subject(review)],
        facts={"refused": str(error)},
    )
