"""Those outside who make, keep or need a key: providers, processors, suppliers."""

from django.db import models


class Vendor(models.Model):
    name = models.CharField(max_length=200, unique=True)
    notes = models.TextField(blank=True)
    revision = models.PositiveIntegerField(default=1, editable=False)  # grows with every edit

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=~models.Q(name=""), name="vendor_has_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> str:
        return f"vendor:{self.pk}"
