"""One rule of a written policy, as data."""

from datetime import timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models

from inventory.policy import Clause, Rule, Scope
from inventory.terms import Access, Classification, Environment, KeyKind, StorageMedium

COVERED_ACCESS = [(choice.value, choice.label) for choice in (Access.PRODUCTION, Access.CUSTOMER)]


class PolicyClause(models.Model):
    """What it covers is the conjunction of the four lists; an empty list covers everything.

    A clause demands a longest age, names events after which a key is rotated, says how strong a key must be, where it
    may not be kept, or what else must hold of it; always at least one of these. `allowed_media` demands nothing: it
    tells which places a policy permits in so many words, and another clause's prohibition wins.
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
    # In bits of classical strength, so that RSA, elliptic curves and AES compare. Source: NIST SP 800-57 Part 1 §5.6.1.
    smallest_strength_bits = models.PositiveIntegerField(null=True, blank=True)
    forbidden_media = ArrayField(models.CharField(max_length=30, choices=StorageMedium), default=list, blank=True)
    allowed_media = ArrayField(models.CharField(max_length=30, choices=StorageMedium), default=list, blank=True)
    not_exportable = models.BooleanField(default=False)
    runbook_required = models.BooleanField(default=False)
    separate_per_environment = models.BooleanField(default=False)
    separate_from_production = models.BooleanField(default=False)
    is_in_force = models.BooleanField("in force", default=True)
    revision = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        ordering = ["source", "section", "code"]
        verbose_name = "policy clause"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(longest_age_days__isnull=True) | models.Q(longest_age_days__range=(1, 3650)),
                name="clause_age_in_range",
                violation_error_message="A longest age is given in days, from 1 to 3650.",
            ),
            models.CheckConstraint(
                condition=models.Q(smallest_strength_bits__isnull=True)
                | models.Q(smallest_strength_bits__range=(1, 512)),
                name="clause_strength_in_range",
                violation_error_message="A strength is given in bits, from 1 to 512.",
            ),
            models.CheckConstraint(
                condition=models.Q(longest_age_days__isnull=False)
                | ~models.Q(on_events=[])
                | models.Q(smallest_strength_bits__isnull=False)
                | ~models.Q(forbidden_media=[])
                | models.Q(not_exportable=True)
                | models.Q(runbook_required=True)
                | models.Q(separate_per_environment=True)
                | models.Q(separate_from_production=True),
                name="clause_demands_something",
                violation_error_message="A clause demands something: an age, an event, a strength, a place and so on.",
            ),
            models.CheckConstraint(
                condition=~models.Q(forbidden_media__overlap=models.F("allowed_media")),
                name="clause_does_not_forbid_what_it_permits",
                violation_error_message="A place cannot be forbidden and permitted by the same clause.",
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
    def terms(self) -> Clause:
        """Return the clause as policy.breaches() takes it."""
        return Clause(
            clause_id=self.pk or 0,
            label=self.label,
            source=self.source,
            requirement=self.requirement,
            scope=self.scope,
            longest_age=None if self.longest_age_days is None else timedelta(days=self.longest_age_days),
            on_events=tuple(self.on_events),
            smallest_strength_bits=self.smallest_strength_bits,
            forbidden_media=frozenset(self.forbidden_media),
            allowed_media=frozenset(self.allowed_media),
            not_exportable=self.not_exportable,
            runbook_required=self.runbook_required,
            separate_per_environment=self.separate_per_environment,
            separate_from_production=self.separate_from_production,
        )

    def rule(self, percent: int) -> Rule:
        """Return the clause as policy.judge() takes it. Only for clauses that demand a longest age.

        `percent` is what the threat level leaves of it. A clause that is not saved yet has the id 0.
        """
        if self.longest_age_days is None:
            raise ValueError(f"{self.code} demands no longest age")
        return Rule(
            clause_id=self.pk or 0,
            label=self.label,
            longest_age=timedelta(days=self.longest_age_days),
            scope=self.scope,
            code=self.code,
            percent=percent,
        )
