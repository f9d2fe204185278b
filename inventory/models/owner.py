"""People and teams who make keys and answer for them."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower


class OwnerKind(models.TextChoices):
    PERSON = "person", "person"
    TEAM = "team", "team"


class Owner(models.Model):
    """A person or a team. `handle` and `mail` are kept normalised (NFKC, case-folded, stripped).

    Somebody whose handle belongs to another person already goes by their own address as handle.
    """

    kind = models.CharField(max_length=10, choices=OwnerKind, default=OwnerKind.PERSON)
    handle = models.CharField(max_length=254, unique=True)
    mail = models.EmailField(max_length=254, blank=True)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="owner"
    )
    is_active = models.BooleanField("still here", default=True)
    revision = models.PositiveIntegerField(default=1, editable=False)  # grows with every edit

    class Meta:
        ordering = ["handle"]
        constraints = [
            models.UniqueConstraint(fields=["mail"], condition=~models.Q(mail=""), name="owner_mail_unique"),
            models.CheckConstraint(condition=models.Q(handle=Lower("handle")), name="owner_handle_normalised"),
            models.CheckConstraint(condition=models.Q(mail=Lower("mail")), name="owner_mail_normalised"),
            models.CheckConstraint(condition=~models.Q(handle=""), name="owner_has_handle"),
            models.CheckConstraint(
                condition=~models.Q(handle__contains="@") | models.Q(handle=models.F("mail")),
                name="owner_handle_is_no_other_address",
                violation_error_message="A name with an @ must be the mail address itself.",
            ),
        ]

    def __str__(self) -> str:
        return self.handle

    @property
    def ref(self) -> str:
        return f"owner:{self.pk}"
