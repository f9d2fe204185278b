"""Exceptions to clauses: for one key and one clause, until a day, because several people agreed to it."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from inventory.models.clause import COVERED_ACCESS, PolicyClause
from inventory.models.key import Key
from inventory.policy import Limit, Scope
from inventory.terms import Classification, Environment, KeyKind

LONGEST_SAYING = 2_000  # characters


class ExceptionLimit(models.Model):
    """How long an exception may last for some class of keys. The shortest that speaks of a key holds.

    Shipped by migrations; no process of the application writes it.
    """

    label = models.CharField(max_length=120, unique=True)
    longest_days = models.PositiveSmallIntegerField()
    kinds = ArrayField(models.CharField(max_length=30, choices=KeyKind), default=list, blank=True)
    environments = ArrayField(models.CharField(max_length=20, choices=Environment), default=list, blank=True)
    classifications = ArrayField(models.CharField(max_length=20, choices=Classification), default=list, blank=True)
    access = ArrayField(models.CharField(max_length=20, choices=COVERED_ACCESS), default=list, blank=True)

    class Meta:
        ordering = ["longest_days", "pk"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(longest_days__range=(1, 366)), name="exceptionlimit_in_range")
        ]

    def __str__(self) -> str:
        return f"{self.label}: {self.longest_days} days"

    @property
    def terms(self) -> Limit:
        """Return it as policy.longest_exception() takes it."""
        scope = Scope(
            kinds=frozenset(self.kinds),
            environments=frozenset(self.environments),
            classifications=frozenset(self.classifications),
            access=frozenset(self.access),
        )
        return Limit(label=self.label, longest_days=self.longest_days, scope=scope)


class ExceptionState(models.TextChoices):
    STANDING = "standing", "standing"
    EXPIRED = "expired", "expired"
    ENDED = "ended", "ended early"
    SUPERSEDED = "superseded", "renewed"  # by another one, which was voted on anew


class PolicyException(models.Model):
    """What was agreed on never changes; it stands until its last moment, or until somebody ends it before.

    Triggers see to it that one comes into being only while its request is carried out, and lasts no longer than the
    limits of its key allow; nothing that is over stands again.
    """

    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="exceptions")
    clause = models.ForeignKey(PolicyClause, on_delete=models.PROTECT, related_name="exceptions")
    compensating_control = models.TextField(max_length=LONGEST_SAYING)
    residual_risk = models.TextField(max_length=LONGEST_SAYING)
    reason = models.CharField("why", max_length=2000)
    granted_at = models.DateTimeField()
    until = models.DateTimeField()  # 00:00 UTC of the day from which the key counts again
    longest_days = models.PositiveSmallIntegerField()  # that the limits allowed then
    request = models.CharField(max_length=100, unique=True)  # "request:118", in which it was voted on
    state = models.CharField(max_length=10, choices=ExceptionState, default=ExceptionState.STANDING)
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    closed_because = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-pk"]
        verbose_name = "exception"
        default_permissions = ("view",)
        permissions = [
            ("ask_policyexception", "Can ask for an exception to a clause"),
            ("end_policyexception", "Can end an exception early"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["key", "clause"], condition=Q(state=ExceptionState.STANDING), name="exception_one_standing"
            ),
            models.CheckConstraint(
                condition=~Q(compensating_control="") & ~Q(residual_risk="") & ~Q(reason=""),
                name="exception_says_all",
            ),
            models.CheckConstraint(
                condition=Q(until__gt=F("granted_at")),
                name="exception_ends_later",
            ),
            models.CheckConstraint(
                condition=Q(state=ExceptionState.STANDING, closed_at__isnull=True, closed_by__isnull=True)
                | ~Q(state=ExceptionState.STANDING) & Q(closed_at__isnull=False),
                name="exception_closed_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=ExceptionState.ENDED) | ~Q(closed_because=""), name="exception_ended_says_why"
            ),
        ]
        indexes = [
            models.Index(fields=["until", "id"], condition=Q(state="standing"), name="exception_standing"),
            models.Index(fields=["until", "id"], name="exception_by_end"),
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.clause.label}"

    @property
    def ref(self) -> str:
        return f"exception:{self.pk}"
