"""Changes that make a key less late, and rotations done elsewhere: asked by one person, decided on by another."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from inventory.models.key import LONGEST_TEXT, Key
from inventory.models.links import only_web_links, web_link


class RotationEvidence(models.Model):
    """What somebody says of a rotation that was done elsewhere, and how others can see it. Never changed."""

    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="rotation_evidence")
    rotated_on = models.DateField()
    text = models.TextField(max_length=LONGEST_TEXT)
    url = models.URLField("link", max_length=500, blank=True, validators=[web_link])
    # Nobody where a command reports what it found out by itself; the change that waits names the command.
    reported_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    reported_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "rotation evidence"
        default_permissions = ()
        permissions = [("report_rotation", "Can report a rotation done elsewhere")]
        constraints = [
            models.CheckConstraint(condition=~Q(text=""), name="rotationevidence_has_text"),
            only_web_links("url", name="rotationevidence_url_is_a_web_link"),
        ]

    def __str__(self) -> str:
        return f"rotation of {self.rotated_on}"

    @property
    def ref(self) -> str:
        return f"evidence:{self.pk}"


class HeldKind(models.TextChoices):
    EDIT = "edit", "edit"
    IMPORT = "import", "import"
    ROTATION = "rotation", "rotation"


class HeldState(models.TextChoices):
    PENDING = "pending", "waiting"
    CONFIRMED = "confirmed", "confirmed"
    REJECTED = "rejected", "rejected"
    WITHDRAWN = "withdrawn", "withdrawn"
    VOID = "void", "void"  # the key changed meanwhile


_DECIDED = [HeldState.CONFIRMED, HeldState.REJECTED]


class HeldChange(models.Model):
    """One question about one key. What is asked never changes; no login role may update more than how it ended.

    `changes` and `before` hold facts as the log writes them ("owner:5", "2026-10-03"), keyed by their names on Key. It
    is confirmed only while the key still has `expected_revision` and the dates are those that were shown.
    """

    kind = models.CharField(max_length=10, choices=HeldKind)
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="held_changes")
    changes = models.JSONField()
    before = models.JSONField()
    rotate_by_before = models.DateTimeField(null=True)
    rotate_by_after = models.DateTimeField(null=True)
    expected_revision = models.PositiveIntegerField()
    reason = models.TextField(max_length=LONGEST_TEXT)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    requested_by_ref = models.CharField(max_length=100)  # "user:3"; for a command all there is
    requested_at = models.DateTimeField()
    evidence = models.OneToOneField(RotationEvidence, on_delete=models.PROTECT, null=True, related_name="held_change")
    state = models.CharField(max_length=10, choices=HeldState, default=HeldState.PENDING)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-requested_at", "-pk"]
        verbose_name = "held change"
        default_permissions = ("view",)
        permissions = [("confirm_heldchange", "Can confirm a change that makes a key less late")]
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=Q(state=HeldState.PENDING), name="heldchange_one_pending"
            ),
            models.CheckConstraint(
                condition=Q(requested_by__isnull=True) | Q(decided_by__isnull=True) | ~Q(decided_by=F("requested_by")),
                name="heldchange_not_decided_by_requester",
            ),
            models.CheckConstraint(
                condition=Q(state=HeldState.PENDING, decided_at__isnull=True)
                | ~Q(state=HeldState.PENDING) & Q(decided_at__isnull=False),
                name="heldchange_closed_has_time",
            ),
            models.CheckConstraint(
                condition=Q(state__in=_DECIDED, decided_by__isnull=False) & ~Q(decision_reason="")
                | ~Q(state__in=_DECIDED) & Q(decided_by__isnull=True),
                name="heldchange_decided_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(kind=HeldKind.ROTATION, evidence__isnull=False)
                | ~Q(kind=HeldKind.ROTATION) & Q(evidence__isnull=True),
                name="heldchange_rotation_has_evidence",
            ),
        ]
        indexes = [models.Index(fields=["-requested_at", "-id"], name="heldchange_newest")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.key}"

    @property
    def ref(self) -> str:
        return f"held:{self.pk}"
