"""How far the log has left: one cursor for each place that takes it piece by piece."""

from django.db import models


class ExportCursor(models.Model):
    """A place outside, and the last event that it has. It only moves forward, one revision at a time."""

    name = models.TextField(primary_key=True)  # the address of a SIEM, or what a person called their cursor
    kind = models.TextField()  # "file", "syslog", "syslog+tls", "syslog+unix"; "export" for export_audit --cursor
    number = models.BigIntegerField(default=0)  # the last event delivered
    digest = models.BinaryField()  # of that event: by it a log that was rewritten is noticed
    length = models.BigIntegerField(default=0)  # bytes of the file that ends with that event; 0 before a new file
    revision = models.IntegerField(default=0)
    begun_at = models.DateTimeField()
    moved_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    error = models.TextField(blank=True)  # a sentence; never an address with a password
    retired_at = models.DateTimeField(null=True)  # no longer named in the settings

    class Meta:
        db_table = "audit_export_cursor"
        default_permissions = ("view",)
        permissions = [("export_log", "Can export the audit log")]
        ordering = ["name"]
        verbose_name = "export cursor"
        constraints = [
            models.CheckConstraint(
                name="audit_exportcursor_counts", condition=models.Q(number__gte=0, length__gte=0, revision__gte=0)
            ),
            models.CheckConstraint(
                name="audit_exportcursor_failing_says_why",
                condition=models.Q(failing_since__isnull=True, error="")
                | (models.Q(failing_since__isnull=False) & ~models.Q(error="")),
            ),
        ]

    def __str__(self) -> str:
        return self.name
