"""One rule of a written policy, as data."""

from datetime import timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models

from inventory.policy import Rule, Scope
from inventory.terms import Access, Classification, Environment, KeyKind

COVERED_ACCESS = [(choice.value, choice.label) for choice in (Access.PRODUCTION, Access.CUSTOMER)]


class PolicyClause(models.Model):
    """What it covers is the conjunction of the four lists; an empty list covers everything.

    A clause demands a longest age, or names events after which a key is rotated, or both.
    """

    code = models.SlugField(max_length=40, unique=True)  # "s4-production-90d": how fixtures and logs name it
    source = models.CharField(max_length=80)  # "S4"
    document = models.CharField(max_length=200)
    section = models.CharField(max_length=80)
    text = models.TextField()  # the clause in the policy's own words
    requirement = models.CharField(max_length=20, blank=True)  # "R210"
    kinds = ArrayField(models.CharField(max_length=30, choices=KeyKind), default=list, blank=True)
    environments = ArrayField(models.CharField(max_length=20, choices=Environment), default=list, blank=True)
    classifications = ArrayField(models.CharField(max_length=20, choices=Classification), default=list, blank=True)
    access = ArrayField(models.CharField(max_length=20, choices=COVERED_ACCESS), default=list, blank=True)
    longest_age_days = models.PositiveIntegerField(null=True, blank=True)
    on_events = ArrayField(models.CharField(max_length=80), default=list, blank=True)
    is_in_force = models.BooleanField(default=True)

    class Meta:
        ordering = ["source", "section", "code"]
        verbose_name = "policy clause"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(longest_age_days__isnull=True) | models.Q(longest_age_days__range=(1, 3650)),
                name="clause_age_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(longest_age_days__isnull=False) | ~models.Q(on_events=[]),
                name="clause_demands_something",
            ),
        ]

    def __str__(self) -> str:
        return self.label if self.longest_age_days is None else f"{self.label}: {self.longest_age_days} days"

    @property
    def label(self) -> str:
        return f"{self.source} {self.section}"

    @property
    def ref(self) -> str:
        return f"clause:{self.pk}"

    @property
    def scope(self) -> Scope:
        return Scope(
            kinds=frozenset(self.kinds),
            environments=frozenset(self.environments),
            classifications=frozenset(self.classifications),
            access=frozenset(self.access),
        )

    @property
    def rule(self) -> Rule:
        """Return the clause as policy.judge() takes it. Only for clauses that demand a longest age."""
        if self.longest_age_days is None:
            raise ValueError(f"{self.code} demands no longest age")
        return Rule(
            clause_id=self.pk, label=self.label, longest_age=timedelta(days=self.longest_age_days), scope=self.scope
        )
