"""Duties: what one person did alone, for others to look at afterwards, and the signatures that say they did."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from inventory.models import Key
from rotation.models.requests import Request
from rotation.models.reviews import Verdict

LONGEST_WORDS = 500
LONGEST_REASON = 2000


class DutyKind(models.TextChoices):
    """Why somebody has to look. Stored, never renamed."""

    SUSPENSION = "suspension", "suspension"
    REPORT = "report", "reported compromise"
    BREAK_GLASS = "break_glass", "break-glass"
    STILL_SUSPENDED = "still_suspended", "still suspended"  # after 72 hours


class DutyState(models.TextChoices):
    OPEN = "open", "open"
    CLOSED = "closed", "closed"


class Duty(models.Model):
    """One act that others have to look at. What it is about never changes; signatures close it.

    Triggers see to it that nobody signs for what they did, that a break-glass has two signatures of two roles before it
    closes, and that no request is carried out by breaking the glass without its duty (rotation/0006_duties).
    """

    kind = models.CharField(max_length=20, choices=DutyKind)
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="duties")
    request = models.ForeignKey(Request, on_delete=models.PROTECT, null=True, related_name="duties")
    title = models.CharField(max_length=300)  # what was done, as a list shows it
    reason = models.CharField(max_length=LONGEST_REASON)  # why, in the words of who did it
    done_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    done_by_ref = models.CharField(max_length=100)  # "user:3"; for a command all there is
    done_at = models.DateTimeField()
    verified_by = models.CharField(max_length=100, blank=True)  # "totp:5", the device of the second factor
    opened_at = models.DateTimeField()
    due_at = models.DateTimeField("due")
    state = models.CharField(max_length=10, choices=DutyState, default=DutyState.OPEN)
    closed_at = models.DateTimeField(null=True)
    flagged_overdue_at = models.DateTimeField(null=True)
    next_reminder_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "duties"
        ordering = ["-done_at", "-pk"]
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                condition=Q(done_at__lte=F("opened_at"), opened_at__lt=F("due_at")), name="duty_times_in_order"
            ),
            models.CheckConstraint(
                condition=Q(state=DutyState.OPEN, closed_at__isnull=True)
                | Q(state=DutyState.CLOSED, closed_at__isnull=False),
                name="duty_closed_has_time",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="duty_reason_is_said"),
            models.CheckConstraint(
                condition=~Q(kind=DutyKind.BREAK_GLASS)
                | Q(done_by__isnull=False, request__isnull=False) & ~Q(verified_by=""),
                name="duty_glass_is_somebodys",
            ),
            # Who broke the glass breaks no other until two people have looked at it.
            models.UniqueConstraint(
                fields=["done_by"],
                condition=Q(kind=DutyKind.BREAK_GLASS, state=DutyState.OPEN),
                name="duty_one_open_glass_each",
            ),
            models.UniqueConstraint(
                fields=["request"], condition=Q(kind=DutyKind.BREAK_GLASS), name="duty_one_for_each_glass"
            ),
            models.UniqueConstraint(
                fields=["key", "done_at"],
                condition=Q(kind=DutyKind.STILL_SUSPENDED),
                name="duty_one_for_each_suspension",
            ),
        ]
        indexes = [
            models.Index(fields=["-done_at", "-id"], name="duty_newest"),
            models.Index(fields=["due_at", "id"], name="duty_by_due"),
            models.Index(fields=["next_reminder_at"], condition=Q(state="open"), name="duty_to_remind"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def ref(self) -> str:
        return f"duty:{self.pk}"


class DutySignature(models.Model):
    """That one person has looked, what they found, and with which second factor they said so. Never changed."""

    duty = models.ForeignKey(Duty, on_delete=models.PROTECT, related_name="signatures")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=20)
    verdict = models.CharField(max_length=10, choices=Verdict)
    words = models.CharField(max_length=LONGEST_WORDS)
    verified_by = models.CharField(max_length=100)  # "totp:5"
    signed_at = models.DateTimeField()

    class Meta:
        ordering = ["signed_at", "pk"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["duty", "person"], name="dutysignature_distinct_people"),
            models.UniqueConstraint(fields=["duty", "role"], name="dutysignature_distinct_roles"),
            models.CheckConstraint(condition=Q(role__in=["Security", "DevOps"]), name="dutysignature_role_known"),
            models.CheckConstraint(condition=Q(verdict__in=["in_order", "finding"]), name="dutysignature_verdict"),
            models.CheckConstraint(condition=~Q(words=""), name="dutysignature_says_what"),
            models.CheckConstraint(condition=~Q(verified_by=""), name="dutysignature_second_factor"),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.person}"
