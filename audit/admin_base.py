"""What every page of the admin has in common here: no deletion, and the audit log instead of Django's own."""

from typing import Any, NoReturn

from django.contrib import admin
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse


class AuditedAdmin(admin.ModelAdmin):
    """A door: it parses, asks a service and shows. Services leave the events, so Django's LogEntry is never written."""

    actions: tuple[str, ...] | None = None
    list_per_page = 50
    show_full_result_count = False
    empty_value_display = "—"
    list_title = ""  # what people call the page, where it is not the plural of the model
    add_label = ""  # what the button and the page of a registration say
    empty_words = ""  # what to do while the list is empty

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        said = {"list_title": self.list_title, "add_label": self.add_label, "empty_words": self.empty_words}
        return super().changelist_view(request, {**said, **(extra_context or {})})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"list_title": self.list_title, "add_label": self.add_label, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def log_addition(self, request: HttpRequest, obj: Model, message: object) -> None:  # type: ignore[override]
        """The service has recorded it."""

    def log_change(self, request: HttpRequest, obj: Model, message: object) -> None:  # type: ignore[override]
        """The service has recorded it."""

    def history_view(self, request: HttpRequest, object_id: str, extra_context: object = None) -> NoReturn:
        raise Http404("What happened to an object stands on its own page; the admin's own history is not kept.")


class ReadOnlyAdmin(AuditedAdmin):
    """A page that shows and changes nothing."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
