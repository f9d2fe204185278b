"""Re-wrap jobs: which DEKs are taken from the old versions of a KEK to its newest, how far, and what did not work."""

from django.db import models
from django.db.models import F, Q

from inventory.models import DekVersion, Kek, KekVersion
from rotation.models.orders import Order
from rotation.models.sources import RewrapSource

DEFAULT_BATCH = 2_000


class JobState(models.TextChoices):
    RUNNING = "running", "running"
    PAUSED = "paused", "paused"
    DONE = "done", "done"
    SUPERSEDED = "superseded", "superseded"  # the KEK was rotated again; another job took over what was left
    STOPPED = "stopped", "stopped"  # by a person, for good


LIVE_JOBS = (JobState.RUNNING, JobState.PAUSED)


class RewrapJob(models.Model):
    """All DEKs under old versions of one KEK, or of one source elsewhere, are brought under its primary version."""

    kek = models.ForeignKey(Kek, on_delete=models.PROTECT, related_name="jobs")
    target = models.ForeignKey(KekVersion, on_delete=models.PROTECT, related_name="+")
    source = models.ForeignKey(RewrapSource, on_delete=models.PROTECT, null=True, related_name="jobs")
    order = models.ForeignKey(Order, on_delete=models.PROTECT, null=True, related_name="jobs")  # of the rotation
    reason = models.CharField(max_length=2000)
    opened_by_ref = models.CharField(max_length=100)
    opened_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=JobState, default=JobState.RUNNING)
    pass_number = models.PositiveSmallIntegerField(default=1)
    batch_size = models.PositiveIntegerField(default=DEFAULT_BATCH)
    per_second = models.PositiveIntegerField(null=True)  # DEKs, all workers together; none: as fast as it goes
    verify_percent = models.PositiveSmallIntegerField(default=100)  # of what the store re-wraps itself; else it is all
    is_server_side = models.BooleanField(default=False)
    total = models.PositiveBigIntegerField(default=0)  # of the census when it was planned
    rewrapped = models.PositiveBigIntegerField(default=0)
    verified = models.PositiveBigIntegerField(default=0)
    bound = models.PositiveBigIntegerField(default=0)  # got their binding digest at this, their first opening
    digest_before = models.BinaryField(null=True)  # over all (DEK, binding) before
    digest_after = models.BinaryField(null=True)
    changed_at = models.DateTimeField()  # progress, or a decision of somebody
    paused_because = models.CharField(max_length=300, blank=True)
    next_at = models.DateTimeField()  # when a worker may take it up: later after trouble with the store
    closed_at = models.DateTimeField(null=True)
    closed_because = models.CharField(max_length=300, blank=True)
    certificate = models.OneToOneField("audit.Certificate", on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ["-opened_at", "-pk"]
        default_permissions = ("view",)
        permissions = [("run_rewrapjob", "Can open, pause, resume and stop re-wrap jobs")]
        constraints = [
            models.UniqueConstraint(
                fields=["kek"],
                condition=Q(state__in=LIVE_JOBS, source__isnull=True),
                name="rewrapjob_one_live_for_a_kek",
            ),
            models.UniqueConstraint(
                fields=["source"],
                condition=Q(state__in=LIVE_JOBS, source__isnull=False),
                name="rewrapjob_one_live_for_a_source",
            ),
            models.CheckConstraint(
                condition=Q(state__in=LIVE_JOBS, closed_at__isnull=True)
                | ~Q(state__in=LIVE_JOBS) & Q(closed_at__isnull=False),
                name="rewrapjob_closed_has_time",
            ),
            models.CheckConstraint(condition=Q(verify_percent__gte=1, verify_percent__lte=100), name="rewrapjob_share"),
            models.CheckConstraint(condition=Q(batch_size__gte=1, batch_size__lte=50_000), name="rewrapjob_batch"),
        ]
        indexes = [
            models.Index(fields=["next_at"], condition=Q(state="running"), name="rewrapjob_due"),
            models.Index(fields=["-opened_at", "-id"], name="rewrapjob_newest"),
        ]

    def __str__(self) -> str:
        return f"re-wrap of {self.source or self.kek} to {self.target.store_id}"

    @property
    def ref(self) -> str:
        return f"rewrap:{self.pk}"


class BatchState(models.TextChoices):
    LEASED = "leased", "leased"
    DONE = "done", "done"


class RewrapBatch(models.Model):
    """A range of DEKs that one worker has taken, and what came of it. First and last belong to the range."""

    job = models.ForeignKey(RewrapJob, on_delete=models.PROTECT, related_name="batches")
    number = models.PositiveIntegerField()
    pass_number = models.PositiveSmallIntegerField()
    kek_version = models.ForeignKey(KekVersion, on_delete=models.PROTECT, null=True, related_name="+")  # the old one
    first = models.CharField(max_length=100)  # id of a DEK version; of a row, in a source elsewhere
    last = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=BatchState, default=BatchState.LEASED)
    leased_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=1)
    rewrapped = models.PositiveIntegerField(default=0)
    quarantined = models.PositiveIntegerField(default=0)
    digest = models.BinaryField(null=True)  # over (DEK, old, new)
    begun_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["job", "number"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="rewrapbatch_number"),
            models.CheckConstraint(
                condition=~Q(state=BatchState.LEASED) | Q(leased_until__isnull=False), name="rewrapbatch_has_lease"
            ),
            models.CheckConstraint(
                condition=Q(done_at__isnull=True) | Q(done_at__gte=F("begun_at")), name="rewrapbatch_ends_later"
            ),
        ]
        indexes = [
            models.Index(fields=["job", "leased_until"], condition=Q(state="leased"), name="rewrapbatch_leased"),
        ]

    def __str__(self) -> str:
        return f"batch {self.number} of {self.job_id}"


class Quarantined(models.Model):
    """A DEK that a job could not bring over; it stays as it was under its old version until somebody mends it."""

    job = models.ForeignKey(RewrapJob, on_delete=models.PROTECT, related_name="quarantined")
    dek_version = models.ForeignKey(DekVersion, on_delete=models.PROTECT, null=True, related_name="quarantined")
    row = models.CharField(max_length=100, blank=True)  # of a source elsewhere
    kek_version = models.ForeignKey(KekVersion, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=30)  # of a closed list: "not_bound", "altered", "gone" …
    at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)  # brought over after all, or given up with the DEK itself
    resolved_because = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["job", "pk"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["job", "dek_version"],
                condition=Q(resolved_at__isnull=True, dek_version__isnull=False),
                name="quarantined_dek_once",
            ),
            models.UniqueConstraint(
                fields=["job", "row"],
                condition=Q(resolved_at__isnull=True) & ~Q(row=""),
                name="quarantined_row_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.dek_version or self.row}: {self.reason}"
