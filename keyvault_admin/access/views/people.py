"""The pages on which Security keeps people: each parses, asks one service and shows what came of it.

No page here gives a right: that is asked for (`views.asking`), and people vote on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import actor_of
from audit.selectors import timeline
from audit.services import Subject, record_refusal
from audit.step_up import requires_step_up
from inventory.models import Owner
from inventory.selectors import held_by
from keyvault_admin.access import selectors, services
from keyvault_admin.access.errors import AccessError, LastOfRoleError, OwnAccountError, ReviewError
from keyvault_admin.access.models import QuorumReview, User
from keyvault_admin.access.people_forms import (
    AddPersonForm,
    CommentForm,
    EditPersonForm,
    EndDateForm,
    RevokeRoleForm,
    WhyForm,
)
from keyvault_admin.access.roles import Role
from keyvault_admin.access.wording import PURPOSES, lines_of, role_table, standing, votes
from rotation.approvals.mails import INBOX
from rotation.requests import live_about

TIMELINE_LENGTH = 20
# Who tries what the pages do not offer them leaves a trace.
_RECORDED = (LastOfRoleError, OwnAccountError, ReviewError)


@dataclass(frozen=True)
class Page:
    """What a form page says: its title, what the act means in plain words, and the words on the button."""

    title: str
    consequence: str
    verb: str
    action: Action
    done: str
    is_grave: bool = False


# Reading


def person_page(admin: ModelAdmin, request: HttpRequest, pk: str) -> HttpResponse:
    """Show a person: facts, roles, factors, keys, what happened, and what the viewer may do. Queries: at most 17."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    person = _person(int(pk) if pk.isascii() and pk.isdecimal() and len(pk) < 19 else 0)  # noqa: PLR2004 - fits 64 bits
    now = timezone.now()
    owner = Owner.objects.filter(user_id=person.pk).first()
    held, late = held_by(owner, now) if owner else (0, 0)
    events = timeline(person.ref, limit=TIMELINE_LENGTH + 1)
    factors = selectors.count_factors(person)
    is_own, may = person.pk == request.user.pk, request.user.has_perm("access.manage_people")
    is_working = person.is_active and not person.has_ended(now.date())
    context = {
        "title": str(person),
        "person": person,
        "standing": standing(person, now.date()),
        "roles": [(Role(name), PURPOSES[Role(name)]) for name in person.role_names if name in set(Role)],
        "is_auditor_without_end": Role.AUDITOR in person.role_names and person.ends_on is None,
        "factors": factors,
        "owner": owner,
        "held": held,
        "late": late,
        "timeline": lines_of(events[:TIMELINE_LENGTH], person),
        "has_older": len(events) > TIMELINE_LENGTH,
        "is_own": is_own,
        "is_working": is_working,
        "may_manage": may,
        "may_edit": may and is_working,
        "may_end": may and is_working and not is_own,
        "may_link": may and is_working and not is_own and not factors,
        "may_revoke": may and bool(person.role_names),
        "votes": votes(person),
        "waiting": list(live_about([person.ref])),
        "inbox": INBOX,
    }
    return _render(admin, request, "person", context)


def roles_page(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Show which role may do what, in plain words. Queries: 6, besides those of every page."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    groups = dict(Group.objects.values_list("name", "pk"))
    roles = [(role, PURPOSES[role], selectors.enrolled_with(role).count(), groups[role]) for role in Role]
    return _render(admin, request, "roles", {"title": "Roles", "roles": roles, "topics": role_table()})


# Acting


@requires_step_up
def add(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Add a person who can do nothing yet."""
    _require(request)
    form = AddPersonForm(request.POST or None)
    page = Page(
        "Add a person",
        "The person is registered and can do nothing yet. Next, issue a link with which they set up their sign-in; a "
        "role is asked for on their page, and given by votes.",
        "Add the person",
        Action.PERSON_REGISTERED,
        "is registered. Issue a link, so that they can set up their sign-in",
    )

    def act(said: dict[str, Any]) -> User:
        return services.register_person(
            username=said["username"],
            mail=said["mail"],
            full_name=said["full_name"],
            actor=actor_of(request),
            now=timezone.now(),
        )

    return _form_page(admin, request, form, page, act, None)


@requires_step_up
def edit(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Change a person's mail address and full name."""
    person = _managed(request, pk)
    form = EditPersonForm(request.POST or None, initial={"full_name": person.full_name, "mail": person.email})
    page = Page(
        f"Edit {person}",
        "The user name stays. When the mail address changes, the old one and the new one are both told.",
        "Save the changes",
        Action.PERSON_EDITED,
        "is changed",
    )

    def act(said: dict[str, Any]) -> User:
        return services.edit_person(
            person=person, mail=said["mail"], full_name=said["full_name"], **_why(request, said)
        )

    return _form_page(admin, request, form, page, act, person)


@requires_step_up
def end_date(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Set or take away the last day of an account."""
    person = _managed(request, pk)
    form = EndDateForm(request.POST or None, initial={"ends_on": person.ends_on})
    page = Page(
        f"Last day of {person}",
        "After that day the account is deactivated by itself; only a command on the machine lets the person back in.",
        "Set the last day",
        Action.PERSON_END_SET,
        "has the last day that was set",
    )

    def act(said: dict[str, Any]) -> User:
        return services.set_end_date(person=person, ends_on=said["ends_on"], **_why(request, said))

    return _form_page(admin, request, form, page, act, person)


@requires_step_up
def deactivate(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Shut a person out."""
    person = _managed(request, pk)
    page = Page(
        f"Deactivate {person}",
        "They are signed out everywhere with their next click and cannot sign in again. Their roles, their keys and "
        "everything they did stay on record. Letting them back in takes the votes of two people.",
        "Deactivate now",
        Action.PERSON_DEACTIVATED,
        "is deactivated",
        is_grave=True,
    )

    def act(said: dict[str, Any]) -> User:
        services.deactivate_person(person=person, **_why(request, said))
        return person

    return _form_page(admin, request, WhyForm(request.POST or None), page, act, person)


@requires_step_up
def revoke_role(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Take a role from a person."""
    person = _managed(request, pk)
    page = Page(
        f"Take a role from {person}",
        "It takes effect at once. Giving it back takes the votes of two people.",
        "Take the role away",
        Action.ROLE_REVOKED,
        "has lost the role",
        is_grave=True,
    )

    def act(said: dict[str, Any]) -> User:
        services.revoke_role(person=person, role=Role(said["role"]), **_why(request, said))
        return person

    return _form_page(admin, request, RevokeRoleForm(request.POST or None, person=person), page, act, person)


@requires_step_up
@sensitive_variables()
def issue_link(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Issue an enrolment link and show it in the answer to this very POST, once: in no address and no mail."""
    person, refused = _managed(request, pk), ""
    if request.method == "POST":
        try:
            link = services.hand_enrolment_link(person=person, actor=actor_of(request), now=timezone.now())
        except AccessError as error:
            _record_refusal(request, Action.ENROLMENT_ISSUED, person, error)
            refused = str(error)
        else:
            return _render(admin, request, "link", {"title": f"A link for {person}", "person": person, "link": link})
    return _render(admin, request, "link", {"title": f"A link for {person}", "person": person, "refused": refused})


@requires_step_up
def quorum_review(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Show a quorum that was restored by one person, and take the acknowledgement of somebody else of Security."""
    reviews = QuorumReview.objects.select_related("person", "acknowledged_by")
    review = get_object_or_404(reviews, pk=pk)
    may = request.user.has_perm("access.manage_people")
    form = CommentForm(request.POST or None)
    if request.method == "POST":
        if not may:
            raise PermissionDenied
        if form.is_valid() and _is_acknowledged(request, review, form):
            messages.success(request, "Acknowledged. It no longer stands on the first page.")
            return redirect("admin:index")
    context = {"title": "A quorum was restored by one person", "review": review, "form": form}
    context |= {"may_acknowledge": may and review.acknowledged_at is None and review.person_id != request.user.pk}
    return _render(admin, request, "quorum_review", context)


def _is_acknowledged(request: HttpRequest, review: QuorumReview, form: CommentForm) -> bool:
    actor, now = actor_of(request), timezone.now()
    person = _person(request.user.pk or 0)
    comment = form.cleaned_data["comment"]
    try:
        services.acknowledge_review(review=review, person=person, comment=comment, actor=actor, now=now)
    except AccessError as error:
        _record_refusal(request, Action.QUORUM_REVIEWED, review.person, error)
        form.add_error(None, str(error))
        return False
    return True


# What they share


def _require(request: HttpRequest) -> None:
    if not request.user.has_perm("access.manage_people"):
        raise PermissionDenied


def _managed(request: HttpRequest, pk: int) -> User:
    """Return the person for somebody who keeps people; others learn nothing, not even who there is."""
    _require(request)
    return _person(pk)


def _person(pk: int) -> User:
    return get_object_or_404(User.objects.defer("password").prefetch_related("groups"), pk=pk)


def _why(request: HttpRequest, said: dict[str, Any]) -> dict[str, Any]:
    return {"actor": actor_of(request), "reason": said["reason"], "now": timezone.now()}


def _form_page(
    admin: ModelAdmin,
    request: HttpRequest,
    form: Form,
    page: Page,
    act: Callable[[dict[str, Any]], User],
    person: User | None,
) -> HttpResponse:
    """Show a form; when it is sent and the service agrees, lead to the person, else say why not."""
    if request.method == "POST" and form.is_valid():
        try:
            made = act(form.cleaned_data)
        except AccessError as error:
            _record_refusal(request, page.action, person, error)
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{made} {page.done}.")
            return redirect("admin:access_user_change", made.pk)
    return _render(admin, request, "form", {"title": page.title, "form": form, "page": page, "person": person})


def _record_refusal(request: HttpRequest, action: Action, person: User | None, error: AccessError) -> None:
    """Record that somebody tried what the page does not offer; a mistyped form leaves nothing."""
    if isinstance(error, _RECORDED):
        subjects = [Subject(ref=person.ref)] if person else []
        facts: dict[str, Any] = {"refused": str(error)}
        record_refusal(action, actor=actor_of(request), now=timezone.now(), subjects=subjects, facts=facts)


def _render(admin: ModelAdmin, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    context = {**admin.admin_site.each_context(request), "opts": admin.opts, **context}
    return TemplateResponse(request, f"admin/access/user/{template}.html", context)
