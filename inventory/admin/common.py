"""What the pages of the inventory share: chips, links to lists, edits with a reason."""

from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import AuditedAdmin
from audit.counting import shown
from inventory.chips import Chip
from inventory.counts import Belonging, KeysHeld, keys_of, sortable_by_counts
from inventory.errors import InventoryError

# Pages of a key whose acts live above the inventory: route, view and name. Whoever has them adds them when its own
# admin is loaded, so that they stand under the address of the key.
KEY_PAGES: list[tuple[str, Any, str]] = []


def chip(shown: Chip) -> SafeString:
    return format_html('<span class="chip {}">{}</span>', shown.look, shown.words)


def list_link(count: int, **chosen: object) -> SafeString:
    """Return a number that links to the keys it counts, if there are any; past COUNTED it says so."""
    if not count:
        return format_html('<span class="third">{}</span>', 0)
    query = urlencode(chosen)
    return format_html('<a href="{}?{}">{}</a>', reverse("admin:inventory_key_changelist"), query, shown(count))


def page_of(model_admin: admin.ModelAdmin, view: Any) -> Any:  # noqa: ANN401 - views of differing arguments
    """Make a view a page of the admin site; what it declares of itself (`requires_step_up`) stays on it."""
    shown = wraps(view)(lambda request, *args, **kwargs: view(model_admin, request, *args, **kwargs))
    return model_admin.admin_site.admin_view(shown)


class EditedWithReason(AuditedAdmin):
    """A record whose change asks why: the form of the change is another one than that of the registration.

    Whether it is one is told by the record alone: the stock admin asks for the form a second time, to know its fields,
    and then says `change` no more.
    """

    edit_form: type[ModelForm]

    def get_form(
        self,
        request: HttpRequest,
        obj: Model | None = None,
        change: bool = False,  # noqa: FBT001, FBT002
        **how: Any,  # noqa: ANN401
    ) -> type[ModelForm]:
        if obj is not None and self.has_change_permission(request, obj):
            how["form"] = self.edit_form
        return super().get_form(request, obj, change, **how)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show what the service refused although the form was right: somebody was faster by a moment."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except InventoryError as error:
            messages.error(request, str(error))
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        return redirect(request.get_full_path())


def changes_of(form: ModelForm) -> dict[str, Any]:
    """Return what somebody changed."""
    return {name: form.cleaned_data[name] for name in form.changed_data if name not in {"reason", "expected_revision"}}


def how_of(form: ModelForm) -> dict[str, Any]:
    """Return why somebody changes a record, and the revision of it that they were looking at."""
    said = form.cleaned_data
    return {"reason": said["reason"], "expected_revision": said["expected_revision"] or 0}


class CountsKeys(EditedWithReason):
    """A record to which keys belong. The keys of those on the page are counted, with one query, and no others."""

    counted_by: Belonging  # the field of Key that names it

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Count the keys of all of them only for who sorts by that."""
        found = super().get_queryset(request)
        return sortable_by_counts(found, self.counted_by, timezone.now()) if ORDER_VAR in request.GET else found

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        listed = super().get_changelist_instance(request)
        held = keys_of(self.counted_by, [record.pk for record in listed.result_list], timezone.now())
        for record in listed.result_list:
            record.held = held[record.pk]
        return listed

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return ("key_count", "late_count") if obj else ()

    @admin.display(description="Keys", ordering="keys_held")
    def key_count(self, record: Model) -> SafeString:
        return list_link(self._held(record).keys, **{self.counted_by: record.pk})

    @admin.display(description="Overdue", ordering="keys_late")
    def late_count(self, record: Model) -> SafeString:
        held = self._held(record)
        late = list_link(held.late, **{self.counted_by: record.pk, "due": "overdue"})
        if not held.accepted:
            return late
        accepted = list_link(held.accepted, **{self.counted_by: record.pk, "due": "accepted"})
        return format_html('{}<span class="sub">{} accepted</span>', late, accepted)

    def _held(self, record: Any) -> KeysHeld:  # noqa: ANN401 - any record to which keys belong
        if not hasattr(record, "held"):
            record.held = keys_of(self.counted_by, [record.pk], timezone.now())[record.pk]
        return record.held  # type: ignore[no-any-return]
