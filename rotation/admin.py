"""The mail that went out, or is to go; and reviews, judged and signed on pages of their own."""

from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, DateTimeField, Exists, F, OuterRef, Q, QuerySet, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from audit.keyset import KeysetAdmin, Order
from inventory.admin.common import chip, page_of
from inventory.chips import Chip
from inventory.filters import ConditionFilter
from rotation import (
    custody_admin,  # noqa: F401 - which stands in the admin site by itself
    duty_admin,
    request_admin,
    review_views,
    rule_admin,  # noqa: F401 - which stands in the admin site by itself
)
from rotation.models import Digest, DigestState, Duty, Request, Review, ReviewItem, ReviewState, Verdict
from rotation.review_wording import due_chip
from rotation.reviews.pieces import rules_of
from rotation.selectors import STANDING, with_progress

admin.site.register(Duty, duty_admin.DutyAdmin)
admin.site.register(Request, request_admin.RequestAdmin)

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


WITH_FINDINGS = Q(Exists(ReviewItem.objects.filter(review=OuterRef("pk"), verdict=Verdict.FINDING)))


class StandingFilter(ConditionFilter):
    """How a review stands."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [("open", "open"), ("overdue", "overdue"), ("signed", "signed")]

    def conditions(self) -> dict[str, Q]:
        return {
            "open": Q(state=ReviewState.OPEN),
            "overdue": Q(state=ReviewState.OPEN, due_at__lte=timezone.now()),
            "signed": Q(state=ReviewState.SIGNED),
        }


class FoundFilter(ConditionFilter):
    """What was found."""

    title = "findings"
    parameter_name = "findings"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's signature
        return [("some", "some"), ("none", "none")]

    def conditions(self) -> dict[str, Q]:
        return {"some": WITH_FINDINGS, "none": ~WITH_FINDINGS}


@admin.register(Review)
class ReviewAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Reviews"
    list_display = ("period", "due", "sample_words", "findings_now", "signatures_now")
    list_display_links = ("period",)
    list_filter = (StandingFilter, FoundFilter)
    sortable_by = ("period", "due")
    keyset_orders: ClassVar[dict[str, Order]] = {
        "period": Order("period", F("period_to"), DateTimeField(), descending=True),
        "due": Order("due", F("due_at"), DateTimeField()),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("<int:pk>/judge/", page(review_views.judge), name="rotation_review_judge"),
            path("<int:pk>/sign/", page(review_views.sign), name="rotation_review_sign"),
            *super().get_urls(),
        ]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Count what the page shows, and no more."""
        listed = super().get_changelist_instance(request)
        counted = with_progress(Review.objects.filter(pk__in=[review.pk for review in listed.result_list]))
        found = {review.pk: review for review in counted.prefetch_related(STANDING)}
        listed.result_list = [found[review.pk] for review in listed.result_list]
        return listed

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return review_views.page(self, request, object_id)

    def has_view_permission(self, request: HttpRequest, obj: Review | None = None) -> bool:
        return request.user.has_perm("rotation.view_review")

    @admin.display(description="Period", ordering="period_to")
    def period(self, review: Review) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', review.period, review.get_kind_display())

    @admin.display(description="Due", ordering="due_at")
    def due(self, review: Review) -> SafeString:
        shown = chip(due_chip(review, timezone.now()))
        return format_html('{}<span class="sub">{}</span>', shown, f"{review.completed_at or review.due_at:%-d %B %Y}")

    @admin.display(description="Judged")
    def sample_words(self, review: Any) -> SafeString:  # noqa: ANN401 - a Review with what with_progress() adds
        if not review.population:
            return format_html('<span class="third">{}</span>', "nothing happened")
        of = "all" if review.sampled == review.population else f"a sample of {review.population:,}"
        return format_html('{} of {}<span class="sub">{}</span>', review.judged, review.sampled, of)

    @admin.display(description="Findings")
    def findings_now(self, review: Any) -> SafeString:  # noqa: ANN401 - as above
        if not review.found:
            return format_html('<span class="third">{}</span>', "none")
        return chip(Chip("late", f"{review.found:,}"))

    @admin.display(description="Signed by")
    def signatures_now(self, review: Any) -> SafeString:  # noqa: ANN401 - as above
        signed = {one.role: str(one.person) for one in review.standing}
        words = [f"{role}: {signed.get(role, 'missing')}" for role in rules_of(review).roles]
        return format_html("{}", " · ".join(words))
