"""Certificates: what was done, in words and as the signed bytes that others can check."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import DateTimeField, F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit import canonical
from audit.admin_base import ReadOnlyAdmin
from audit.errors import AuditError
from audit.keyset import KeysetAdmin, Order
from audit.models import Certificate

MOST_DEEP = 6
_SHORT = {"dek": "DEK", "deks": "DEKs", "kek": "KEK", "uri": "URI"}
_TIME = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z")  # audit.canonical


@dataclass(frozen=True)
class Said:
    """One fact of a certificate: a text, facts of its own, or the rows of a table."""

    label: str
    text: str = ""
    facts: Sequence["Said"] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()

    @property
    def is_code(self) -> bool:
        """Whether it is a digest, or something else that nobody reads as words."""
        return len(self.text) >= 32 and " " not in self.text  # noqa: PLR2004 - hexadecimal digits of 16 bytes


class CertificateAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Certificates"
    empty_words = (
        "A re-wrap job that has brought all DEKs over writes one, and so does a destruction that is confirmed."
    )
    list_display = ("what", "kind_now", "made", "signature")
    list_display_links = ("what",)
    list_filter = ("kind",)
    sortable_by = ("made",)
    keyset_orders: ClassVar[dict[str, Order]] = {
        "made": Order("made", F("made_at"), DateTimeField(), descending=True),
    }

    def get_urls(self) -> list[URLPattern]:
        return [
            path("<int:pk>/body/", self.admin_site.admin_view(self.body_view), name="audit_certificate_body"),
            path("<int:pk>/note/", self.admin_site.admin_view(self.note_view), name="audit_certificate_note"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Certificate]:
        found: QuerySet[Certificate] = super().get_queryset(request)
        return found.defer("body", "note")

    def has_view_permission(self, request: HttpRequest, obj: Certificate | None = None) -> bool:
        return request.user.has_perm("audit.view_certificate")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        """Show a certificate in words. Queries: 1 of its own."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = get_object_or_404(Certificate, pk=object_id if object_id.isdecimal() else None)
        return TemplateResponse(request, "admin/audit/certificate/certificate.html", {
            **self.admin_site.each_context(request),
            "title": found.title,
            "opts": self.opts,
            "certificate": found,
            "digest": bytes(found.digest).hex(),
            "said": said_by(bytes(found.body)),
        })  # fmt: skip

    def body_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Give the canonical bytes as a file."""
        found = self._certificate(request, pk)
        return _file(f"certificate-{pk}.json", "application/json", bytes(found.body))

    def note_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Give the signed note over them as a file."""
        found = self._certificate(request, pk)
        if not found.note:
            raise Http404("It is not signed yet.")
        return _file(f"certificate-{pk}.note", "text/plain; charset=utf-8", found.note.encode())

    def _certificate(self, request: HttpRequest, pk: int) -> Certificate:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(Certificate, pk=pk)

    @admin.display(description="What")
    def what(self, certificate: Certificate) -> SafeString:
        return format_html('{}<span class="sub mono">{}</span>', certificate.title, certificate.subject)

    @admin.display(description="Kind")
    def kind_now(self, certificate: Certificate) -> str:
        return str(certificate.get_kind_display())

    @admin.display(description="Made")
    def made(self, certificate: Certificate) -> str:
        return f"{certificate.made_at:%-d %b %Y, %H:%M}"

    @admin.display(description="Signature")
    def signature(self, certificate: Certificate) -> SafeString:
        look, words = ("ok", "signed") if certificate.signed_at else ("soon", "not signed yet")
        return format_html('<span class="chip {}">{}</span>', look, words)


def _file(name: str, content_type: str, content: bytes) -> HttpResponse:
    held = f'attachment; filename="{name}"'
    return HttpResponse(content, content_type=content_type, headers={"Content-Disposition": held})


def said_by(raw: bytes) -> Sequence[Said]:
    """Return what the canonical bytes say, in the order of their names; nothing for bytes that are no JSON of ours."""
    try:
        said = canonical.read(raw)
    except AuditError:
        return ()
    return _facts(said, 0) if isinstance(said, Mapping) else ()


def _facts(said: Mapping[str, Any], depth: int) -> list[Said]:
    return [_fact(name, value, depth) for name, value in said.items()]


def _fact(name: str, value: object, depth: int) -> Said:
    label = _words(name)
    if isinstance(value, Mapping) and value and depth < MOST_DEEP:
        return Said(label, facts=_facts(value, depth + 1))
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        names = list(dict.fromkeys(each for one in value for each in one))
        rows = [[_text(one.get(each)) for each in names] for one in value]
        return Said(label, head=[_words(each) for each in names], rows=rows)
    return Said(label, text=_text(value))


def _words(name: str) -> str:
    return " ".join(_SHORT.get(word, word) for word in name.split("_"))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value) or "none"
    if isinstance(value, str) and _TIME.fullmatch(value):
        return f"{canonical.parse_timestamp(value):%-d %B %Y, %H:%M:%S} UTC"
    return "none" if value in (None, "", {}) else str(value)
