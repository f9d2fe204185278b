"""Requests for guarded operations, and the votes on them."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q

from inventory.models import Key


class RequestState(models.TextChoices):
    OPEN = "open", "waiting for votes"
    APPROVED = "approved", "approved"
    EXECUTING = "executing", "being carried out"
    EXECUTED = "executed", "done"
    FAILED = "failed", "failed"  # may be tried again
    REJECTED = "rejected", "rejected"
    WITHDRAWN = "withdrawn", "withdrawn"
    EXPIRED = "expired", "expired"
    VOID = "void", "void"  # what it is about has changed


LIVE = (RequestState.OPEN, RequestState.APPROVED, RequestState.EXECUTING)
OVER = tuple(state for state in RequestState if state not in LIVE)


class Request(models.Model):
    """One question to several people. What is asked never changes: who wants it otherwise asks anew.

    `payload` is canonical JSON (operations.base.Payload), `digest` its SHA-256. Triggers see to it that it goes through
    its states in order, that the votes it needs are there, and that nobody votes on what they asked for themselves.
    """

    operation = models.CharField(max_length=50)
    payload = models.BinaryField()
    digest = models.BinaryField(max_length=32, unique=True)
    title = models.CharField(max_length=300)  # from the payload, for lists and mail
    subject_ref = models.CharField(max_length=100)  # of the first target
    key = models.ForeignKey(Key, on_delete=models.PROTECT, null=True, related_name="requests")  # where that is one
    reason = models.CharField(max_length=2000)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    requested_by_ref = models.CharField(max_length=100)  # "user:3"; for a command all there is
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    is_break_glass = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=RequestState, default=RequestState.OPEN)
    approved_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    closed_because = models.CharField(max_length=500, blank=True)  # a sentence for people
    reminded_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    leased_until = models.DateTimeField(null=True)
    # Kept by triggers, from payload and votes, so that an inbox reads no payload; nobody else can write them.
    waits_for = ArrayField(models.CharField(max_length=20), default=list, editable=False)  # roles; none once decided
    barred = ArrayField(models.CharField(max_length=100), default=list, editable=False)  # "user:3": who may not vote

    class Meta:
        ordering = ["-requested_at", "-pk"]
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                condition=Q(digest=Func(F("payload"), function="sha256", output_field=models.BinaryField())),
                name="request_digest_is_the_payloads",
            ),
            models.UniqueConstraint(
                fields=["operation", "subject_ref"], condition=Q(state__in=LIVE), name="request_one_live_for_each"
            ),
            models.CheckConstraint(
                condition=Q(state__in=LIVE, closed_at__isnull=True) | Q(state__in=OVER, closed_at__isnull=False),
                name="request_closed_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["approved", "executing", "executed"]) | Q(approved_at__isnull=False),
                name="request_approved_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=RequestState.EXECUTING) | Q(leased_until__isnull=False),
                name="request_executing_has_lease",
            ),
            models.CheckConstraint(condition=Q(expires_at__gt=F("requested_at")), name="request_expires_later"),
        ]
        indexes = [
            models.Index(fields=["-requested_at", "-id"], name="request_newest"),
            models.Index(fields=["expires_at", "id"], condition=Q(state="open"), name="request_open_by_expiry"),
            models.Index(
                fields=["next_attempt_at"], condition=Q(state__in=["approved", "executing"]), name="request_to_execute"
            ),
            models.Index(fields=["requested_by", "-requested_at", "-id"], name="request_by_requester"),
            models.Index(fields=["subject_ref", "-id"], name="request_by_subject"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def ref(self) -> str:
        return f"request:{self.pk}"

    @property
    def short_digest(self) -> str:
        """Return the first 12 digits in groups of four, as page and mail show them: "9f2c 41ab 7e03"."""
        digits = bytes(self.digest).hex()[:12]
        return " ".join(digits[start : start + 4] for start in range(0, 12, 4))


class RequestTarget(models.Model):
    """A record that a request is about, so that its page finds the request."""

    request = models.ForeignKey(Request, on_delete=models.PROTECT, related_name="targets")
    ref = models.CharField(max_length=100)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["ref", "request"], name="requesttarget_once")]

    def __str__(self) -> str:
        return self.ref


class Vote(models.Model):
    """What one person decided, with the second factor they showed for it. Void once they lost what let them vote."""

    request = models.ForeignKey(Request, on_delete=models.PROTECT, related_name="votes")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=20)  # the step it fills
    is_approval = models.BooleanField()
    comment = models.CharField(max_length=500, blank=True)
    digest = models.BinaryField(max_length=32)  # of the payload that was shown
    verified_by = models.CharField(max_length=100)  # "totp:5", shown for this vote
    credentials_mark = models.BinaryField(max_length=8, default=b"")  # set by the database: of the password then
    voted_at = models.DateTimeField()
    voided_at = models.DateTimeField(null=True)
    voided_because = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["voted_at", "pk"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["request", "person"], condition=Q(voided_at__isnull=True), name="vote_one_for_each_person"
            ),
            models.CheckConstraint(condition=~Q(verified_by=""), name="vote_second_factor"),
            models.CheckConstraint(condition=Q(is_approval=True) | ~Q(comment=""), name="vote_rejection_says_why"),
            models.CheckConstraint(
                condition=Q(voided_at__isnull=True, voided_because="")
                | Q(voided_at__isnull=False) & ~Q(voided_because=""),
                name="vote_void_says_why",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.person}: {'approved' if self.is_approval else 'rejected'}"
