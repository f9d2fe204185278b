"""One line of the table of algorithms, as data."""

from django.db import models
from django.db.models import F, Q

from inventory.algorithms.table import IN_TABLE, AlgorithmRow, SourceStatus, Status

STATUSES = [(status.value, status.value.replace("-", " ")) for status in IN_TABLE]
SOURCE_STATUSES = [(status.value, status.value.replace("-", " ")) for status in SourceStatus]


def _values(choices: list[tuple[str, str]]) -> list[str]:
    return [stored for stored, _words in choices]


class Algorithm(models.Model):
    """A migration loads the table and replaces it with the next one; no process of the application writes it.

    It is part of the written policies: who may read the clauses may read it, and it has no permissions of its own.
    """

    algorithm = models.CharField(max_length=80)
    parameters = models.CharField(max_length=80, blank=True)
    use = models.CharField(max_length=80)
    status_new = models.CharField("for new keys", max_length=20, choices=STATUSES)
    status_existing = models.CharField("for existing keys", max_length=20, choices=STATUSES)
    classical_bits = models.PositiveIntegerField("strength in bits", null=True)
    pq_safe = models.CharField("quantum-safe", max_length=20, blank=True)
    effective_from = models.DateField("from", null=True)
    effective_to = models.DateField("until", null=True)
    source = models.CharField(max_length=200)
    source_status = models.CharField(max_length=20, choices=SOURCE_STATUSES)
    read_on = models.DateField("read on")  # the day on which the two statuses hold

    class Meta:
        ordering = ["pk"]  # that of the table
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["algorithm", "parameters", "use"], name="algorithm_unique"),
            models.CheckConstraint(
                condition=Q(status_new__in=_values(STATUSES), status_existing__in=_values(STATUSES)),
                name="algorithm_status_known",
            ),
            models.CheckConstraint(
                condition=Q(source_status__in=_values(SOURCE_STATUSES)), name="algorithm_source_status_known"
            ),
            models.CheckConstraint(
                condition=Q(effective_from__isnull=True)
                | Q(effective_to__isnull=True)
                | Q(effective_to__gte=F("effective_from")),
                name="algorithm_ends_after_it_begins",
            ),
        ]

    def __str__(self) -> str:
        return self.row.label

    @property
    def row(self) -> AlgorithmRow:
        """Return the line as the judgement takes it."""
        return AlgorithmRow(
            algorithm=self.algorithm,
            parameters=self.parameters,
            use=self.use,
            status_new=Status(self.status_new),
            status_existing=Status(self.status_existing),
            classical_bits=self.classical_bits,
            pq_safe=self.pq_safe,
            effective_from=self.effective_from,
            effective_to=self.effective_to,
            source=self.source,
            source_status=SourceStatus(self.source_status),
            read_on=self.read_on,
        )
