"""The mail that went out, or is to go: readable, never edited."""

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from rotation.models import Digest, DigestState

_LOOKS = {DigestState.PENDING: "rest", DigestState.SENDING: "run", DigestState.SENT: "ok", DigestState.FAILED: "late"}


@admin.register(Digest)
class DigestAdmin(ReadOnlyAdmin):
    list_display = ("subject", "recipient", "state_now", "composed_at", "sent_at", "attempts")
    list_filter = ("state",)
    search_fields = ("recipient",)
    fields = ("subject", "recipient", "state_now", "composed_at", "sent_at", "attempts", "last_error", "message")
    readonly_fields = fields

    @admin.display(description="State", ordering="state")
    def state_now(self, digest: Digest) -> SafeString:
        state = DigestState(digest.state)
        return format_html('<span class="chip {}">{}</span>', _LOOKS[state], state.label)

    @admin.display(description="Message")
    def message(self, digest: Digest) -> SafeString:
        return format_html('<pre class="mail">{}</pre>', digest.text)

    def has_view_permission(self, request: HttpRequest, obj: Digest | None = None) -> bool:  # type: ignore[override]
        return request.user.has_perm("rotation.view_digest")
