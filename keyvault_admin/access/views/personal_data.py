"""Downloads of what is held about a person: by Security, and by everybody of themselves."""

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from audit.actor import actor_of
from audit.step_up import requires_step_up
from keyvault_admin.access import services
from keyvault_admin.access.errors import AccessError
from keyvault_admin.access.models import User
from keyvault_admin.access.people_forms import WhyForm
from keyvault_admin.access.personal_data import HOLDINGS
from keyvault_admin.access.views.pieces import person_of

OWN_REASON = "they asked for their own data"


@requires_step_up
def export_person(person_admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Hand out what is held about somebody, with a reason; for Security."""
    if not (person_admin.has_view_permission(request) and request.user.has_perm("access.manage_people")):
        raise PermissionDenied
    person = get_object_or_404(User, pk=pk)
    form = WhyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            return _download(request, person, form.cleaned_data["reason"])
        except AccessError as error:
            form.add_error(None, str(error))
    context = {
        **person_admin.admin_site.each_context(request),
        "title": f"Export what is held about {person}",
        "person": person,
        "form": form,
        "holdings": HOLDINGS,
    }
    return render(request, "admin/access/user/personal_data.html", context)


@requires_step_up
def own_data(request: HttpRequest) -> HttpResponseBase:
    """Hand out to somebody what is held about themselves."""
    if request.method == "POST":
        try:
            return _download(request, person_of(request), OWN_REASON)
        except AccessError as error:
            messages.error(request, str(error))
            return redirect("account-personal-data")
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "POST"])
    context = {**admin.site.each_context(request), "title": "Your data", "holdings": HOLDINGS, "form": None}
    return render(request, "admin/access/user/personal_data.html", context)


def _download(request: HttpRequest, person: User, reason: str) -> StreamingHttpResponse:
    now = timezone.now()
    pieces = services.export_person(person=person, actor=actor_of(request), reason=reason, now=now)
    return StreamingHttpResponse(
        (piece.encode() for piece in pieces),
        content_type="application/json",
        headers={
            "Content-Disposition": f'attachment; filename="person-{person.pk}-{now:%Y-%m-%d}.json"',
            "Cache-Control": "no-store",
        },
    )
