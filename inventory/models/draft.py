"""A file that somebody uploaded: work to be done, and how far it is."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class ImportState(models.TextChoices):
    READING = "reading", "being read"  # waits for a worker, or one has it
    READY = "ready", "read"  # waits for the person
    APPLYING = "applying", "being imported"  # confirmed; waits for a worker, or one has it
    DONE = "done", "imported"
    REFUSED = "refused", "refused"


class ImportDraft(models.Model):
    """Kept an hour after the upload at most; the person who uploaded it is the only one who sees it.

    A worker claims what is being read or imported by a lease. Each claim has a number, and whoever has not the last one
    writes nothing any more.
    """

    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    uploaded_at = models.DateTimeField()
    file_name = models.CharField(max_length=200)
    content = models.BinaryField()  # the file, compressed and sealed; nothing of it is left when it is done or refused
    reason = models.CharField(max_length=500)
    options = models.JSONField(default=dict)  # services.ImportOptions: what the person has answered about the file
    state = models.CharField(max_length=10, choices=ImportState, default=ImportState.READING)
    claims = models.PositiveSmallIntegerField(default=0)
    leased_until = models.DateTimeField(null=True)
    doing = models.CharField(max_length=20, blank=True)  # with the two figures: how far a worker is
    rows_done = models.PositiveIntegerField(default=0)
    rows_total = models.PositiveIntegerField(default=0)
    preview = models.JSONField(default=dict)  # what the page shows of the plan
    plan_digest = models.CharField(max_length=64, blank=True)  # of the plan that the preview shows; "" if none can be
    note = models.TextField(blank=True)  # for the person: why it was refused, or must be looked at again, or the result

    class Meta:
        indexes = [
            models.Index(fields=["uploaded_at"], name="importdraft_uploaded_at"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=ImportState.values), name="importdraft_state_known"),
            models.CheckConstraint(
                condition=~Q(state__in=[ImportState.DONE, ImportState.REFUSED]) | Q(content=b""),
                name="importdraft_keeps_nothing",
            ),
            models.CheckConstraint(
                condition=~Q(state=ImportState.APPLYING) | ~Q(plan_digest=""), name="importdraft_applies_a_plan"
            ),
        ]

    def __str__(self) -> str:
        return self.file_name

    @property
    def is_waiting(self) -> bool:
        """Say whether the next step is a worker's."""
        return self.state in {ImportState.READING, ImportState.APPLYING}
