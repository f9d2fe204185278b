"""Which services use a key, and which of them may."""

from django.db import models

from inventory.models.key import Key
from inventory.models.service import Service


class KeyConsumer(models.Model):
    """A service that uses a key. Using it without approval is a fact worth recording, so it is one column."""

    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="consumers")
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="consumptions")
    is_approved = models.BooleanField(default=False)

    class Meta:
        ordering = ["service__name"]
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["key", "service"], name="keyconsumer_unique")]

    def __str__(self) -> str:
        return f"{self.service} uses {self.key}"
