"""Something that was found wrong with a key, from when to when."""

from django.db import models
from django.db.models import F, Q

from inventory.findings import Severity, definition, said
from inventory.models.key import Key


class Finding(models.Model):
    """Opened and closed by the service that refreshes them alone; never deleted, so that nobody can say it was not so.

    While it is open, its facts, severity and clause follow the record; once closed, they stay. While `accepted_until`
    lies ahead, an open one is accepted: it is counted as such, and is not mended.
    """

    key = models.ForeignKey(
        Key, on_delete=models.PROTECT, related_name="findings", db_index=False
    )  # finding_open_once begins with it
    code = models.CharField("what is wrong", max_length=40)
    severity = models.PositiveSmallIntegerField(choices=Severity)
    clause = models.TextField()
    opened_at = models.DateTimeField("open since")
    closed_at = models.DateTimeField(null=True)
    accepted_until = models.DateTimeField(null=True)  # by exceptions to every clause that it rests on
    facts = models.JSONField(default=dict)

    class Meta:
        ordering = ["-pk"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["key", "code"], condition=Q(closed_at__isnull=True), name="finding_open_once"
            ),
            models.CheckConstraint(condition=Q(severity__in=Severity.values), name="finding_severity_known"),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True) | Q(closed_at__gte=F("opened_at")),
                name="finding_closed_after_opened",
            ),
        ]
        indexes = [
            models.Index(
                fields=["severity", "id"],
                include=["accepted_until"],
                condition=Q(closed_at__isnull=True),
                name="finding_open_worst",
            ),
            models.Index(
                fields=["code", "severity", "id"], condition=Q(closed_at__isnull=True), name="finding_open_code"
            ),
            models.Index(
                fields=["id"],
                include=["accepted_until"],
                condition=Q(closed_at__isnull=True),
                name="finding_open_newest",
            ),
            models.Index(
                fields=["severity", "id"],
                include=["accepted_until"],
                condition=Q(closed_at__isnull=True, accepted_until__isnull=False),
                name="finding_accepted",
            ),
            models.Index(fields=["severity", "id"], condition=Q(closed_at__isnull=False), name="finding_closed_worst"),
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.title}"

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    @property
    def title(self) -> str:
        return definition(self.code).title

    @property
    def sentence(self) -> str:
        return said(definition(self.code).sentence, self.facts)

    @property
    def mend(self) -> str:
        return said(definition(self.code).mend, self.facts)
