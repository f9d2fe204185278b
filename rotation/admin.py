"""The mail that went out, or is to go: readable, never edited."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet, prefetch_related_objects
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from rotation.models import Digest, DigestState

_LOOKS = {DigestState.PENDING: "rest", DigestState.SENDING: "run", DigestState.SENT: "ok", DigestState.FAILED: "late"}


@admin.register(Digest)
class DigestAdmin(ReadOnlyAdmin):
    list_title = "Mail"
    list_display = ("subject", "recipient", "state_now", "notice_count", "composed_at", "sent_at")
    list_filter = ("state",)
    search_fields = ("recipient",)
    search_help_text = "Recipient"
    fields = readonly_fields = ("recipient", "state_now", "composed_at", "sent_at", "attempts", "last_error")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Digest]:
        digests: QuerySet[Digest] = super().get_queryset(request)
        return digests.defer("text", "html").annotate(noticed=Count("notices"))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:  # noqa: ANN401
        """Return the mail with the keys it tells of. Queries: 4, one of them for the text."""
        digest = super().get_object(request, object_id, from_field)
        if digest is not None:
            prefetch_related_objects([digest], "notices__key")
        return digest

    @admin.display(description="Keys", ordering="noticed")
    def notice_count(self, digest: Digest) -> int:
        return digest.noticed  # type: ignore[attr-defined,no-any-return]

    @admin.display(description="State", ordering="state")
    def state_now(self, digest: Digest) -> SafeString:
        state = DigestState(digest.state)
        return format_html('<span class="chip {}">{}</span>', _LOOKS[state], state.label)

    def has_view_permission(self, request: HttpRequest, obj: Digest | None = None) -> bool:
        return request.user.has_perm("rotation.view_digest")
