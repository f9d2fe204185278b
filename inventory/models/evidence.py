"""Evidence of rotations done elsewhere."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from inventory.models.key import LONGEST_TEXT, Key
from inventory.models.links import only_web_links, web_link


class RotationEvidence(models.Model):
    """What somebody says of a rotation that was done elsewhere, and how others can see it. Never changed."""

    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="rotation_evidence")
    rotated_on = models.DateField()
    text = models.TextField(max_length=LONGEST_TEXT)
    url = models.URLField("link", max_length=500, blank=True, validators=[web_link])
    # Nobody where a command reports what it found out by itself; the request that follows names the command.
    reported_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    reported_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "rotation evidence"
        default_permissions = ()
        permissions = [("report_rotation", "Can report a rotation done elsewhere")]
        constraints = [
            models.CheckConstraint(condition=~Q(text=""), name="rotationevidence_has_text"),
            only_web_links("url", name="rotationevidence_url_is_a_web_link"),
        ]

    def __str__(self) -> str:
        return f"rotation of {self.rotated_on}"

    @property
    def ref(self) -> str:
        return f"evidence:{self.pk}"
