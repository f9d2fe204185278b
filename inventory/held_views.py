"""The page on which somebody reports a rotation that was done elsewhere."""

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from audit.actor import actor_of
from audit.step_up import requires_step_up
from inventory import services
from inventory.asking import Asked
from inventory.forms import RotationForm
from inventory.views import Page, form_page, key_for


@requires_step_up
def report(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Take the report of a rotation that was done where the key is kept."""
    key = key_for(request, pk, "report_rotation")
    form = RotationForm(request.POST or None)
    page = Page(
        f"Report a rotation of {key.name}",
        "For a key that has been replaced where it is kept. It counts, and the key gets its next version, once "
        "somebody of DevOps has looked at the evidence and approved it.",
        "Report the rotation",
    )

    def act() -> Asked:
        said = form.cleaned_data
        return services.report_rotation(
            pk=pk,
            rotated_on=said["rotated_on"],
            evidence=said["evidence"],
            url=said["url"],
            actor=actor_of(request),
            now=timezone.now(),
        )

    return form_page(admin, request, form, page, act, "", key)
