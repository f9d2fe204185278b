"""The door through which the inventory leaves as a file."""

from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import (
    HttpRequest,
    HttpResponseBadRequest,
    HttpResponseBase,
    HttpResponseNotAllowed,
    StreamingHttpResponse,
)
from django.shortcuts import redirect
from django.utils import timezone

from audit.actor import actor_of
from audit.step_up import requires_step_up
from inventory import services
from inventory.errors import InventoryError
from inventory.exporting import MEDIA_TYPES


@requires_step_up
def export(admin: ModelAdmin, request: HttpRequest) -> HttpResponseBase:
    """Send the keys that the list shows under the filters and the search of this address, all pages of it."""
    if not (admin.has_view_permission(request) and request.user.has_perm("inventory.export_keys")):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    file_format, now = request.POST.get("format", ""), timezone.now()
    if file_format not in MEDIA_TYPES:
        return HttpResponseBadRequest("The format is csv, xlsx or json.")
    try:
        chosen: Any = admin.get_changelist_instance(request)
    except IncorrectLookupParameters:
        return HttpResponseBadRequest("These filters are not known.")
    try:
        content = services.export_keys(
            keys=chosen.queryset,
            chosen=chosen.params,
            file_format=file_format,
            actor=actor_of(request),
            now=now,
        )
    except InventoryError as error:
        messages.error(request, str(error))
        return redirect(f"{admin.admin_site.name}:inventory_key_changelist")
    name = f"inventory-{now:%Y-%m-%d}.{file_format}"
    return StreamingHttpResponse(
        content,
        content_type=MEDIA_TYPES[file_format],
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
