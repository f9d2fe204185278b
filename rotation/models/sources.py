"""Sources elsewhere: tables of other PostgreSQL databases that hold wrapped DEKs, re-wrapped where they are."""

from django.db import models
from django.db.models import Q

from inventory.models import Kek


class SourceForm(models.TextChoices):
    """How the other table writes a ciphertext down."""

    BYTES = "bytes", "the store's ciphertext as bytes"
    BASE64 = "base64", "the store's ciphertext as base64 text"
    TEXT = "text", "as the store writes it (vault:v3:…)"
    ENVELOPE = "envelope", "the wrapped form of this application as bytes"


class RewrapSource(models.Model):
    """One table elsewhere. Registered and retired by votes; the credential is a file that only the worker can read."""

    name = models.CharField(max_length=100, unique=True)
    kek = models.ForeignKey(Kek, on_delete=models.PROTECT, related_name="sources")
    host = models.CharField(max_length=255)
    port = models.PositiveIntegerField(default=5432)
    database = models.CharField(max_length=63)
    login = models.CharField(max_length=63)
    password_file = models.CharField(max_length=300)
    ca_file = models.CharField(max_length=300)
    table = models.CharField(max_length=127)  # "schema.table"
    id_column = models.CharField(max_length=63)  # unique and ordered: the table is read by it
    wrapped_column = models.CharField(max_length=63)
    version_column = models.CharField(max_length=63)  # the store's version id, as text or number
    context_column = models.CharField(max_length=63, blank=True)  # bytes or text that the store binds
    binding_column = models.CharField(max_length=63, blank=True)  # 32 bytes: envelope.binding_digest(), filled by us
    form = models.CharField(max_length=10, choices=SourceForm)
    registered_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)
    counts = models.JSONField(default=dict)  # the store's version id → DEKs, when last counted
    counted_at = models.DateTimeField(null=True)
    trouble = models.CharField(max_length=300, blank=True)  # why the last look failed
    revision = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["name"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["host", "port", "database", "table", "wrapped_column"],
                condition=Q(retired_at__isnull=True),
                name="source_table_once",
            ),
            models.CheckConstraint(condition=Q(port__gte=1, port__lte=65535), name="source_port"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ref(self) -> str:
        return f"source:{self.pk}"
