"""What the pages of the inventory share: chips, links to lists, edits with a reason."""

from datetime import datetime
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, Model, Q
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import AuditedAdmin
from inventory.chips import Chip
from inventory.states import CAN_BE_OVERDUE


def chip(shown: Chip) -> SafeString:
    return format_html('<span class="chip {}">{}</span>', shown.look, shown.words)


def list_link(count: int, **chosen: object) -> SafeString:
    """Return a number that links to the keys it counts, if there are any."""
    if not count:
        return format_html('<span class="third">{}</span>', 0)
    query = urlencode(chosen)
    return format_html('<a href="{}?{}">{}</a>', reverse("admin:inventory_key_changelist"), query, f"{count:,}")


def page_of(model_admin: admin.ModelAdmin, view: Any) -> Any:  # noqa: ANN401 - views of differing arguments
    """Make a view a page of the admin site; what it declares of itself (`requires_step_up`) stays on it."""
    shown = wraps(view)(lambda request, *args, **kwargs: view(model_admin, request, *args, **kwargs))
    return model_admin.admin_site.admin_view(shown)


class EditedWithReason(AuditedAdmin):
    """A record whose change asks why: the form of the change is another one than that of the registration."""

    edit_form: type[ModelForm]

    def get_form(
        self,
        request: HttpRequest,
        obj: Model | None = None,
        change: bool = False,  # noqa: FBT001, FBT002
        **how: Any,  # noqa: ANN401
    ) -> type[ModelForm]:
        if change and self.has_change_permission(request, obj):
            how["form"] = self.edit_form
        return super().get_form(request, obj, change, **how)


def changes_of(form: ModelForm) -> dict[str, Any]:
    """Return what somebody changed, without why."""
    return {name: form.cleaned_data[name] for name in form.changed_data if name != "reason"}


def late_keys(now: datetime) -> Count:
    return Count("keys", filter=Q(keys__rotate_by__lte=now, keys__state__in=CAN_BE_OVERDUE))
