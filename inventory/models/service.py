"""What keys are for: services of ours, tenants served, integrations with others."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from inventory.models.owner import Owner
from inventory.models.vendor import Vendor
from inventory.terms import Classification

TIERS = [(1, "1: the business stops"), (2, "2: customers notice"), (3, "3: colleagues notice"), (4, "4: can wait")]


class Service(models.Model):
    name = models.CharField(max_length=200, unique=True)
    description = models.TextField(blank=True)
    team = models.ForeignKey(Owner, on_delete=models.PROTECT, null=True, blank=True, related_name="services")
    tier = models.PositiveSmallIntegerField(choices=TIERS, null=True, blank=True)
    data_classes = ArrayField(models.CharField(max_length=20, choices=Classification), default=list, blank=True)
    vendor = models.ForeignKey(Vendor, on_delete=models.PROTECT, null=True, blank=True, related_name="services")
    revision = models.PositiveIntegerField(default=1, editable=False)  # grows with every edit

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=~models.Q(name=""), name="service_has_name"),
            models.CheckConstraint(
                condition=models.Q(tier__isnull=True) | models.Q(tier__range=(1, 4)), name="service_tier_in_range"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> str:
        return f"service:{self.pk}"


class Tenant(models.Model):
    name = models.CharField(max_length=200, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Integration(models.Model):
    name = models.CharField(max_length=200, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
