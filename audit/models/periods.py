"""Closed periods of the log: what was exported, and what stands for the events once their partition is dropped."""

from django.db import models
from django.db.models import F, Q

from audit.models.checkpoints import SignedCheckpoint

DIGEST_BYTES = 32


class Period(models.Model):
    """One partition that was closed. Two database functions write the row, and no login may; once dropped it is a stub.

    The stub says where the chain goes on (`last`, `digest_after`), and how the tree up to there is part of what a
    checkpoint signed (`root`, `proof`): that is enough to verify everything after it.
    """

    number = models.IntegerField(primary_key=True)  # 1, 2, 3 … in the order of the events
    first = models.BigIntegerField()  # numbers of events
    last = models.BigIntegerField()
    digest_before = models.BinaryField()  # of the event before the first one; GENESIS for the first period
    digest_after = models.BinaryField()  # of the last event
    oldest_at = models.DateTimeField()  # by the server's clock
    newest_at = models.DateTimeField()
    root = models.BinaryField()  # of the tree over the events up to the last one, RFC 6962
    checkpoint = models.ForeignKey(
        SignedCheckpoint, models.PROTECT, db_column="checkpoint", related_name="periods", to_field="size"
    )
    proof = models.BinaryField()  # that this tree begins the checkpoint's: digests of 32 bytes one behind the other
    retention_days = models.IntegerField()  # how long events were to be kept when it was closed
    export_name = models.TextField()
    export_bytes = models.BigIntegerField()
    export_digest = models.BinaryField()  # SHA-256 of the file
    closed_at = models.DateTimeField()
    closed_by = models.TextField()  # as the log names who acts: "command:close_audit_period"
    dropped_at = models.DateTimeField(null=True)
    dropped_by = models.TextField(blank=True)

    class Meta:
        db_table = "audit_period"
        default_permissions = ()
        verbose_name = "audit period"
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(name="audit_period_one_end", fields=["last"]),
            models.CheckConstraint(
                name="audit_period_counts",
                condition=Q(number__gt=0, first__gt=0, last__gte=F("first"), checkpoint__gte=F("last")),
            ),
            models.CheckConstraint(name="audit_period_kept_a_year", condition=Q(retention_days__gte=365)),
            models.CheckConstraint(
                name="audit_period_dropped_by_somebody",
                condition=Q(dropped_at__isnull=True, dropped_by="")
                | Q(dropped_at__isnull=False) & ~Q(dropped_by="") & Q(dropped_at__gte=F("closed_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"period {self.number}"

    @property
    def ref(self) -> str:
        """Return the name the log uses for this period."""
        return f"audit_period:{self.number}"

    @property
    def events(self) -> int:
        """How many events it holds, or held."""
        return self.last - self.first + 1

    @property
    def is_dropped(self) -> bool:
        """Whether only the export holds its events."""
        return self.dropped_at is not None

    @property
    def proof_digests(self) -> list[bytes]:
        """The digests of `proof`, as `audit.tree` takes them."""
        whole = bytes(self.proof)
        return [whole[at : at + DIGEST_BYTES] for at in range(0, len(whole), DIGEST_BYTES)]
