"""Mail that is still to be sent: notices to people, gathered into digests."""

import uuid

from django.db import models
from django.db.models import Q

from inventory.models import Key, Owner


class DigestState(models.TextChoices):
    PENDING = "pending", "waiting"
    SENDING = "sending", "being sent"
    SENT = "sent", "sent"
    FAILED = "failed", "given up"


class Digest(models.Model):
    """One mail to one recipient, as it was composed. Its id makes the Message-ID: a repeated sending is recognised."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    recipient = models.EmailField(max_length=254)
    subject = models.CharField(max_length=200)
    text = models.TextField()
    html = models.TextField()
    composed_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=DigestState, default=DigestState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-composed_at", "id"]
        default_permissions = ("view",)
        indexes = [
            models.Index(
                fields=["next_attempt_at"], condition=Q(state__in=["pending", "sending"]), name="digest_to_be_sent"
            ),
            models.Index(fields=["-composed_at", "id"], name="digest_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state=DigestState.SENT) | Q(sent_at__isnull=False), name="digest_sent_has_time"
            ),
            models.CheckConstraint(
                condition=~Q(state=DigestState.SENDING) | Q(leased_until__isnull=False), name="digest_sending_has_lease"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject} ({self.recipient})"


class Notice(models.Model):
    """One thing that one recipient is told once: this key reaches this date in so many days."""

    # Found through `notice_once_for_each`, which begins with it; nobody asks for the notices of an owner.
    # Key and owner are those that the one statement which writes notices has just read, and no login may delete either
    # or change their numbers: looking each of them up again would only slow the flagging of many keys.
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="notices", db_index=False, db_constraint=False)
    # From when it counts as overdue: its date of rotation, or the end of an exception. A new date is told of again.
    rotate_by = models.DateTimeField()
    threshold_days = models.PositiveSmallIntegerField()
    recipient = models.EmailField(max_length=254)
    # Null: told as Security.
    owner = models.ForeignKey(
        Owner, on_delete=models.PROTECT, null=True, related_name="+", db_index=False, db_constraint=False
    )
    written_at = models.DateTimeField()
    digest = models.ForeignKey(Digest, on_delete=models.PROTECT, null=True, related_name="notices")

    class Meta:
        ordering = ["rotate_by", "pk"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["key", "rotate_by", "threshold_days", "recipient"], name="notice_once_for_each"
            ),
        ]
        indexes = [models.Index(fields=["recipient"], condition=Q(digest__isnull=True), name="notice_to_be_gathered")]

    def __str__(self) -> str:
        return f"{self.key} {self.threshold_days} d → {self.recipient}"
