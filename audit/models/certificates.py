"""Certificates: what was done, in canonical bytes, signed by the signer under a label of its own."""

from django.db import models
from django.db.models import F, Func, Q


class CertificateKind(models.TextChoices):
    REWRAP = "rewrap", "re-wrap"
    DESTRUCTION = "destruction", "destruction"


class Certificate(models.Model):
    """Written unsigned by who did it, in the same transaction; signed within a minute. Its body never changes."""

    kind = models.CharField(max_length=20, choices=CertificateKind)
    subject = models.CharField(max_length=100)  # "rewrap:3"
    title = models.CharField(max_length=300)
    body = models.BinaryField()  # canonical JSON (RFC 8785)
    digest = models.BinaryField(max_length=32, unique=True)
    made_at = models.DateTimeField()
    note = models.TextField(blank=True)  # a C2SP signed note over kind, time and digest; empty until it is signed
    signed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "audit_certificate"
        default_permissions = ("view",)
        ordering = ["-made_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(digest=Func(F("body"), function="sha256", output_field=models.BinaryField())),
                name="certificate_digest_is_the_bodys",
            ),
            models.CheckConstraint(
                condition=Q(note="", signed_at__isnull=True) | ~Q(note="") & Q(signed_at__isnull=False),
                name="certificate_signed_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["made_at"], condition=Q(note=""), name="certificate_to_sign"),
            models.Index(fields=["subject"], name="certificate_subject"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def ref(self) -> str:
        return f"certificate:{self.pk}"
