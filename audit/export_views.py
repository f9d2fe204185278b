"""The doors through which the log leaves by the browser, and the page that says how far it has left by itself."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from audit.actor import actor_of
from audit.admin_base import ReadOnlyAdmin
from audit.exports import selectors
from audit.exports.files import export_log
from audit.exports.formats import FORMATS
from audit.exports.reading import Chosen, ExportError, choose
from audit.exports.targets import VERIFIER
from audit.step_up import requires_step_up

MOST_EVENTS = 100_000  # in one download; more is for the command, which takes its time


class ExportForm(forms.Form):
    """Which part of the log, and in which form."""

    file_format = forms.ChoiceField(
        label="Format",
        choices=[("ndjson", "NDJSON, which verify_log.py checks"), ("csv", "CSV, for a spreadsheet")],
        widget=forms.RadioSelect,
        initial="ndjson",
    )
    first = forms.IntegerField(label="From number", min_value=1, required=False)
    last = forms.IntegerField(label="To number", min_value=1, required=False)
    begin = forms.DateField(
        label="From day", required=False, widget=forms.DateInput(attrs={"type": "date"}), help_text="UTC"
    )
    end = forms.DateField(
        label="To day", required=False, widget=forms.DateInput(attrs={"type": "date"}), help_text="this day included"
    )
    with_names = forms.BooleanField(
        label="With names, where they can still be read (CSV alone)",
        required=False,
        help_text="Whoever gets the file keeps them, also when a person is erased here. The log says that you did.",
    )

    def chosen(self) -> Chosen:
        """Return the events that are asked for. Raises: ExportError for none, and for too many."""
        said = self.cleaned_data
        chosen = choose(
            after=said["first"] - 1 if said["first"] else None,
            until=said["last"],
            since=_midnight(said["begin"]) if said["begin"] else None,
            before=_midnight(said["end"]) + timedelta(days=1) if said["end"] else None,
        )
        if chosen.count == 0:
            raise ExportError("No event is in this range: choose another.")
        if chosen.count > MOST_EVENTS:
            raise ExportError(
                f"These are {chosen.count:,} events; at most {MOST_EVENTS:,} leave by the browser. Choose fewer, or "
                "run manage.py export_audit on the machine."
            )
        return chosen


class ExportCursorAdmin(ReadOnlyAdmin):
    """Where the log leaves to. One page of its own in place of a list and its records."""

    def get_urls(self) -> list[URLPattern]:
        door = self.admin_site.admin_view
        return [
            path("", door(self.exports_view), name="audit_exportcursor_changelist"),
            path("download/", door(self.download_view), name="audit_exportcursor_download"),
            path("verify_log.py", door(self.verifier_view), name="audit_exportcursor_verifier"),
        ]

    def exports_view(self, request: HttpRequest) -> HttpResponse:
        """Show the cursors and the form of a download. Queries of its own: 2."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self._page(request, ExportForm())

    @requires_step_up
    def download_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send a part of the log as a file."""
        if not request.user.has_perm("audit.export_log"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form, now = ExportForm(request.POST), timezone.now()
        if not form.is_valid():
            return self._page(request, form)
        said = form.cleaned_data
        try:
            export = export_log(
                chosen=form.chosen(),
                file_format=said["file_format"],
                with_names=said["with_names"],
                actor=actor_of(request),
                now=now,
            )
        except ExportError as error:
            form.add_error(None, str(error))
            return self._page(request, form)
        name = f"audit-{export.chosen.after + 1}-{export.chosen.until}.{export.form.suffix}"
        return StreamingHttpResponse(
            iter(export),
            content_type=FORMATS[said["file_format"]].media_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )

    def verifier_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send the stand-alone verifier."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return HttpResponse(
            VERIFIER.read_bytes(),
            content_type="text/x-python; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{VERIFIER.name}"'},
        )

    def _page(self, request: HttpRequest, form: ExportForm) -> HttpResponse:
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Exports",
            "cursors": selectors.cursors(),
            "form": form,
            "errors": form.errors,
            "may_export": request.user.has_perm("audit.export_log"),
            "most": MOST_EVENTS,
        }
        return TemplateResponse(request, "admin/audit/exportcursor/exports.html", context)


def _midnight(day: Any) -> datetime:  # noqa: ANN401 - what the field made of it, a date
    return datetime.combine(day, time.min, tzinfo=UTC)
