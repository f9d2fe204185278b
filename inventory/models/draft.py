"""A file that somebody uploaded and has not confirmed yet."""

from django.conf import settings
from django.db import models


class ImportDraft(models.Model):
    """Kept from preview to confirmation, one hour at most; the person who uploaded it is the only one who sees it."""

    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    uploaded_at = models.DateTimeField()
    file_name = models.CharField(max_length=200)
    content = models.BinaryField()
    reason = models.CharField(max_length=500)
    options = models.JSONField(default=dict)  # services.ImportOptions: what the person has answered about the file

    class Meta:
        indexes = [models.Index(fields=["uploaded_at"], name="importdraft_uploaded_at")]

    def __str__(self) -> str:
        return self.file_name
