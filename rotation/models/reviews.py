"""Reviews that people sign: a sample of the log, a verdict on each event of it, and the signatures over both."""

from datetime import timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from inventory.models import Key
from rotation.kinds import ReviewKind

LONGEST_WORDS = 500


class ReviewState(models.TextChoices):
    OPEN = "open", "open"
    SIGNED = "signed", "signed"


class Review(models.Model):
    """One period of one kind. Which events it is about is said by their numbers; the times are for people.

    The sample is that of `rotation.sampling` over the events of its kind behind `after_event` up to `through_event`.
    """

    kind = models.CharField(max_length=20, choices=ReviewKind)
    period_from = models.DateTimeField()
    period_to = models.DateTimeField()
    due_at = models.DateTimeField("due")
    after_event = models.BigIntegerField()
    through_event = models.BigIntegerField()
    population = models.PositiveIntegerField()
    seed = models.BinaryField(max_length=32)
    opened_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=ReviewState, default=ReviewState.OPEN)
    completed_at = models.DateTimeField(null=True)
    flagged_overdue_at = models.DateTimeField(null=True)
    next_reminder_at = models.DateTimeField()

    class Meta:
        ordering = ["-period_to", "-pk"]
        default_permissions = ("view",)
        permissions = [("sign_review", "Can judge and sign reviews")]
        constraints = [
            models.UniqueConstraint(fields=["kind", "period_to"], name="review_one_for_each_period"),
            models.CheckConstraint(
                condition=Q(period_from__lt=F("period_to"), period_to__lte=F("due_at")), name="review_times_in_order"
            ),
            models.CheckConstraint(
                condition=Q(after_event__gte=0, through_event__gte=F("after_event")), name="review_events_in_order"
            ),
            models.CheckConstraint(
                condition=Q(state=ReviewState.SIGNED, completed_at__isnull=False)
                | Q(state=ReviewState.OPEN, completed_at__isnull=True),
                name="review_signed_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at", "id"], name="review_by_due"),
            models.Index(fields=["-period_to", "-id"], name="review_newest"),
            models.Index(fields=["next_reminder_at"], condition=Q(state="open"), name="review_to_remind"),
        ]

    def __str__(self) -> str:
        return f"review of {self.get_kind_display()}, {self.period}"

    @property
    def period(self) -> str:
        """Return the period in days, both of them in it: "9 November to 22 November 2026"."""
        first, last = self.period_from, self.period_to - timedelta(microseconds=1)
        if first.date() == last.date():
            return f"{last:%-d %B %Y}"
        year = "" if first.year == last.year else f" {first.year}"
        return f"{first:%-d %B}{year} to {last:%-d %B %Y}"

    @property
    def ref(self) -> str:
        return f"review:{self.pk}"


class Verdict(models.TextChoices):
    NONE = "", "not judged"
    IN_ORDER = "in_order", "in order"
    FINDING = "finding", "finding"


class ReviewItem(models.Model):
    """One event of the sample. Its digest is that of the chain when it was drawn, so that a later change is seen.

    Who did it, on whose wish, and who approved it, stand here so that the database can refuse their own verdict.
    """

    review = models.ForeignKey(Review, on_delete=models.PROTECT, related_name="items")
    event_number = models.BigIntegerField()
    event_digest = models.BinaryField(max_length=32)
    done_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    done_for = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    # Everybody who asked for it and who approved it, where it was done by request.
    hands = ArrayField(models.BigIntegerField(), default=list, blank=True)
    verdict = models.CharField(max_length=10, choices=Verdict, default=Verdict.NONE, blank=True)
    words = models.CharField(max_length=LONGEST_WORDS, blank=True)
    follow_up = models.ForeignKey(Key, on_delete=models.PROTECT, null=True, related_name="+")
    judged_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    judged_at = models.DateTimeField(null=True)
    revision = models.PositiveIntegerField(default=0)  # grows with each verdict

    class Meta:
        ordering = ["event_number"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["review", "event_number"], name="reviewitem_once"),
            models.CheckConstraint(
                condition=Q(verdict=Verdict.NONE, judged_by__isnull=True, judged_at__isnull=True)
                | Q(verdict__in=["in_order", "finding"], judged_by__isnull=False, judged_at__isnull=False),
                name="reviewitem_verdict_is_somebodys",
            ),
            models.CheckConstraint(
                condition=Q(verdict=Verdict.FINDING) & ~Q(words="")
                | ~Q(verdict=Verdict.FINDING) & Q(words="", follow_up__isnull=True),
                name="reviewitem_finding_has_words",
            ),
            # Without a person who did it there is nobody to refuse: NULL compares as unknown, which a check lets pass.
            models.CheckConstraint(
                condition=~Q(judged_by=F("done_by")) & ~Q(judged_by=F("done_for")), name="reviewitem_not_judged_by_doer"
            ),
            models.CheckConstraint(
                condition=~Q(hands__contains=[F("judged_by")]), name="reviewitem_not_judged_by_hands"
            ),
        ]

    def __str__(self) -> str:
        return f"event {self.event_number}"


class ReviewSignature(models.Model):
    """What one person signed for one role: the SHA-256 of `rotation.reviews.content` at that moment.

    A change of what was signed voids it; the row stays.
    """

    review = models.ForeignKey(Review, on_delete=models.PROTECT, related_name="signatures")
    role = models.CharField(max_length=20)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    content_digest = models.BinaryField(max_length=32)
    verified_by = models.CharField(max_length=100)  # "totp:5", the device of the second factor
    signed_at = models.DateTimeField()
    voided_at = models.DateTimeField(null=True)
    voided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["signed_at", "pk"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["review", "role"], condition=Q(voided_at__isnull=True), name="reviewsignature_one_for_each_role"
            ),
            models.UniqueConstraint(
                fields=["review", "person"], condition=Q(voided_at__isnull=True), name="reviewsignature_distinct_people"
            ),
            models.CheckConstraint(condition=Q(role__in=["Security", "DevOps"]), name="reviewsignature_role_known"),
            models.CheckConstraint(condition=~Q(verified_by=""), name="reviewsignature_second_factor"),
            models.CheckConstraint(
                condition=Q(voided_at__isnull=True, voided_by__isnull=True)
                | Q(voided_at__isnull=False, voided_by__isnull=False),
                name="reviewsignature_voided_by_somebody",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.person}"
