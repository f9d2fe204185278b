"""Which records are the keys of this very installation."""

from django.db import models
from django.db.models import Q

from inventory.models.key import Key


class OwnKey(models.Model):
    """The record of one of our own keys, found again by its code, whatever people name it."""

    code = models.CharField(max_length=40, primary_key=True)  # "sealing": never renamed
    key = models.OneToOneField(Key, on_delete=models.PROTECT, related_name="own_key")
    # The public id, 4 bytes in hexadecimal, of the generation that was registered; later ones stand in the evidence of
    # the rotations that were reported (inventory.services.own_keys).
    material_id = models.CharField(max_length=8)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(material_id__regex=r"^[0-9a-f]{8}$"), name="ownkey_has_a_short_id"),
        ]

    def __str__(self) -> str:
        return self.code
