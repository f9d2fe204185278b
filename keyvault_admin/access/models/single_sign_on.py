"""Which account at the provider of single sign-on is whose."""

from django.db import models
from django_otp.models import Device, TimestampMixin

from keyvault_admin.access.models.people import User


class SingleSignOnLink(TimestampMixin, Device):  # type: ignore[misc] # django-otp has no types
    """An account at a provider that a person has linked to themselves, by issuer and subject and by nothing else.

    To django-otp it is a device, because it stands for the second factor of a session where the provider says that
    there was one. It never verifies by a token, and nobody is enrolled by it. A row is never deleted: the log names it.
    """

    user = models.ForeignKey(User, models.PROTECT, related_name="single_sign_on_links")
    name = models.CharField(max_length=64, default="Single sign-on")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)  # at most 255 characters: OpenID Connect Core 1.0 §2
    removed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "single sign-on"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                name="access_singlesignonlink_one_person",
                fields=["issuer", "subject"],
                condition=models.Q(removed_at__isnull=True),
            ),
            models.UniqueConstraint(
                name="access_singlesignonlink_one_account",
                fields=["user", "issuer"],
                condition=models.Q(removed_at__isnull=True),
            ),
            models.CheckConstraint(
                name="access_singlesignonlink_removed_or_confirmed",
                condition=models.Q(removed_at__isnull=True, confirmed=True)
                | models.Q(removed_at__isnull=False, confirmed=False),
            ),
            models.CheckConstraint(
                name="access_singlesignonlink_names_somebody",
                condition=~models.Q(issuer="") & ~models.Q(subject=""),
            ),
        ]

    def __str__(self) -> str:
        return self.ref

    @property
    def ref(self) -> str:
        """Return the name the log uses for this link."""
        return f"sso:{self.pk}"
