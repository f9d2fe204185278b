"""One line of the inventory, and the generations of its material."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce, Length
from django.db.models.lookups import Exact

from inventory.models import lateness
from inventory.models.clause import PolicyClause
from inventory.models.links import only_web_links, web_link
from inventory.models.owner import Owner
from inventory.models.service import Integration, Service, Tenant
from inventory.models.vendor import Vendor
from inventory.policy import Facts
from inventory.states import CAN_BE_OVERDUE, RevocationReason, State
from inventory.terms import Access, Classification, Environment, KeyKind, StorageMedium

REUSE_DIGEST_BYTES = 36  # 4 of the epoch of the digest key, 32 of the digest
LONGEST_TEXT = 25_000  # characters: an import joins up to three cells of 8 KiB
Row_co = TypeVar("Row_co", bound=models.Model, covariant=True)


class StatefulQuerySet(models.QuerySet[Row_co]):
    """Inserts without the state column: no login role may write it, and the database's default is pre-activation."""

    def _insert(self, objs: Iterable[Row_co], fields: Iterable[Any], **options: Any) -> Any:  # noqa: ANN401 - Django's own signature
        return super()._insert(objs, [field for field in fields if field.name != "state"], **options)  # type: ignore[misc]

    _insert.queryset_only = False  # type: ignore[attr-defined]


class KeyQuerySet(StatefulQuerySet["Key"]):
    def overdue(self, now: datetime) -> "KeyQuerySet":
        return self.filter(lateness.overdue(now))

    def accepted(self, now: datetime) -> "KeyQuerySet":
        return self.filter(lateness.accepted(now))

    def due_within(self, now: datetime, until: datetime) -> "KeyQuerySet":
        return self.filter(lateness.due_within(now, until))


class Key(models.Model):
    """What it is, who made it, who answers for it, which service needs it, how old it is. Never its material.

    `state` is that of the current version. `rotate_by` and `winning_clause` follow from the facts, `accepted_until`
    from them and the exceptions that stand; services keep them.
    """

    name = models.CharField(
        max_length=200,
        unique=True,
        error_messages={"unique": "A key of this name is registered already. Names are exact and used once."},
    )
    kind = models.CharField(max_length=30, choices=KeyKind)
    creator = models.ForeignKey(Owner, on_delete=models.PROTECT, null=True, blank=True, related_name="keys_created")
    owner = models.ForeignKey(
        Owner, on_delete=models.PROTECT, null=True, blank=True, related_name="keys", db_index=False
    )  # key_owner begins with it
    service = models.ForeignKey(
        Service, on_delete=models.PROTECT, null=True, blank=True, related_name="keys", db_index=False
    )  # key_service begins with it
    purpose = models.TextField(blank=True, max_length=LONGEST_TEXT)
    created_on = models.DateField("creation date", null=True, blank=True)
    last_rotated_on = models.DateField("last rotated date", null=True, blank=True)
    never_rotated = models.BooleanField(default=False)
    environment = models.CharField(max_length=20, choices=Environment, blank=True)
    classification = models.CharField("data classification", max_length=20, choices=Classification, blank=True)
    access = models.CharField("access to", max_length=20, choices=Access, blank=True)
    is_shared = models.BooleanField("shared by several people or services", null=True, blank=True)
    algorithm = models.CharField(max_length=80, blank=True)
    size_bits = models.PositiveIntegerField("size in bits", null=True, blank=True)
    storage_medium = models.CharField("kept in", max_length=30, choices=StorageMedium, blank=True)
    storage_location = models.CharField("location", max_length=500, blank=True)
    is_exportable = models.BooleanField("exportable", null=True, blank=True)
    generation_method = models.CharField(max_length=200, blank=True)
    # Few keys have one of these three, and their indexes hold those few.
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, null=True, blank=True, related_name="keys", db_index=False
    )
    integration = models.ForeignKey(
        Integration, on_delete=models.PROTECT, null=True, blank=True, related_name="keys", db_index=False
    )
    secret_name = models.CharField(max_length=200, blank=True)
    vendor = models.ForeignKey(
        Vendor, on_delete=models.PROTECT, null=True, blank=True, related_name="keys", db_index=False
    )
    runbook_url = models.URLField("runbook", max_length=500, blank=True, validators=[web_link])
    labels = models.JSONField(default=dict, blank=True)
    notes = models.TextField(blank=True, max_length=LONGEST_TEXT)
    # The period of use (SP 800-57 Part 1 §5.3.6). Said at registration and never edited: each moves a state by itself.
    activates_at = models.DateTimeField("comes into use", null=True, blank=True)
    protect_until = models.DateTimeField("protects until", null=True, blank=True)
    process_until = models.DateTimeField("opens what it protected until", null=True, blank=True)

    state = models.CharField(
        max_length=30, choices=State, default=State.PRE_ACTIVATION, db_default=State.PRE_ACTIVATION, editable=False
    )
    current_number = models.PositiveIntegerField(default=1, editable=False)
    rotate_by = models.DateTimeField(null=True, editable=False)
    winning_clause = models.ForeignKey(
        PolicyClause, on_delete=models.PROTECT, null=True, editable=False, related_name="keys_won", db_index=False
    )  # key_judged begins with it
    accepted_until = models.DateTimeField(null=True, editable=False)  # later than rotate_by
    flagged_overdue_at = models.DateTimeField(null=True, editable=False)
    next_notice_at = models.DateTimeField(
        null=True, editable=False
    )  # when somebody is to be told next; rotation moves it
    revision = models.PositiveIntegerField(default=1, editable=False)

    objects: ClassVar[models.Manager["Key"]] = KeyQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"
        ordering = ["rotate_by", "pk"]
        permissions = [
            ("change_own_key", "Can change and suspend keys that one owns"),
            ("suspend_key", "Can suspend a key at once"),
            ("import_keys", "Can import an inventory"),
            ("find_token", "Can look up the record of a token that was found"),
            ("export_keys", "Can export the inventory"),
        ]
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="key_has_name"),
            only_web_links("runbook_url", name="key_runbook_is_a_web_link"),
            models.CheckConstraint(
                condition=Q(last_rotated_on__isnull=True) | Q(never_rotated=False),
                name="key_rotated_or_never",
                violation_error_message="There is a date of rotation, so the key was rotated: clear one of the two.",
            ),
            models.CheckConstraint(
                condition=Q(created_on__isnull=True)
                | Q(last_rotated_on__isnull=True)
                | Q(last_rotated_on__gte=models.F("created_on")),
                name="key_rotated_after_creation",
                violation_error_message="The last rotation lies before the creation.",
            ),
            models.CheckConstraint(
                condition=Q(activates_at__isnull=True)
                | Q(protect_until__isnull=True)
                | Q(protect_until__gt=models.F("activates_at")),
                name="key_protects_after_activation",
                violation_error_message="It would stop protecting before it comes into use.",
            ),
            models.CheckConstraint(
                condition=Q(process_until__isnull=True) | Q(process_until__gte=models.F("protect_until")),
                name="key_processes_after_protecting",
                violation_error_message="It opens what it protected at least for as long as it protects.",
            ),
            models.CheckConstraint(
                condition=Q(rotate_by__isnull=True) | Q(winning_clause__isnull=False), name="key_due_by_a_clause"
            ),
            models.CheckConstraint(
                condition=Q(accepted_until__isnull=True) | Q(accepted_until__gt=models.F("rotate_by")),
                name="key_accepted_beyond_its_date",
            ),
            models.UniqueConstraint(
                fields=["tenant", "integration"],
                condition=Q(kind=KeyKind.DEK, tenant__isnull=False, integration__isnull=False),
                name="dek_unique_in_tenant_and_integration",
                violation_error_message="This tenant has a DEK for this integration already.",
            ),
            models.UniqueConstraint(
                fields=["secret_name"],
                condition=Q(kind=KeyKind.DEK) & ~Q(secret_name=""),
                name="dek_unique_for_secret",
                violation_error_message="This secret has a DEK already.",
            ),
        ]
        indexes = [
            models.Index(fields=["rotate_by", "id"], name="key_due"),  # the order of the list
            models.Index(
                fields=["rotate_by", "id"],
                include=["owner", "service", "accepted_until"],  # whose keys are late is read off the index
                condition=Q(state__in=CAN_BE_OVERDUE),
                name="key_can_be_overdue",
            ),
            models.Index(
                fields=["rotate_by", "id"],
                include=["accepted_until"],
                condition=Q(state__in=CAN_BE_OVERDUE, accepted_until__isnull=False),
                name="key_accepted",
            ),
            models.Index(
                fields=["rotate_by", "id"],
                condition=Q(created_on__isnull=True, last_rotated_on__isnull=True),
                name="key_age_unknown",
            ),
            models.Index(fields=["next_notice_at"], condition=Q(state__in=CAN_BE_OVERDUE), name="key_to_be_noticed"),
            models.Index(
                fields=["activates_at"],
                condition=Q(state=State.PRE_ACTIVATION, activates_at__isnull=False),
                name="key_to_be_activated",
            ),
            models.Index(
                fields=["protect_until"],
                condition=Q(state__in=[State.ACTIVE, State.SUSPENDED], protect_until__isnull=False),
                name="key_to_be_deactivated",
            ),
            models.Index(fields=["environment", "rotate_by", "id"], name="key_environment"),
            models.Index(fields=["kind", "rotate_by", "id"], name="key_kind"),
            models.Index(fields=["state", "rotate_by", "id"], name="key_state"),
            models.Index(fields=["owner", "rotate_by", "id"], name="key_owner"),
            models.Index(fields=["service", "rotate_by", "id"], name="key_service"),
            models.Index(
                fields=["winning_clause", "kind", "environment", "classification", "access"], name="key_judged"
            ),  # what counts.reaches() counts
            models.Index(fields=["tenant"], condition=Q(tenant__isnull=False), name="key_tenant"),
            models.Index(fields=["integration"], condition=Q(integration__isnull=False), name="key_integration"),
            models.Index(fields=["vendor"], condition=Q(vendor__isnull=False), name="key_vendor"),
            models.Index(Coalesce("last_rotated_on", "created_on"), "id", name="key_since"),  # sorted by age
            models.Index(
                fields=["rotate_by"],
                include=["accepted_until"],
                condition=Q(state__in=CAN_BE_OVERDUE, classification=Classification.RESTRICTED),
                name="key_restricted_can_be_overdue",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_constraints(self) -> list[tuple[type[models.Model], Sequence[models.BaseConstraint]]]:
        """Return what validation has to look at one by one: the checks are left out where all of them hold together.

        Each check is a question to the database between two savepoints; nearly always, one question answers all.
        """
        checks = [check for check in self._meta.constraints if isinstance(check, models.CheckConstraint)]
        values = self._get_field_expression_map(meta=self._meta)  # type: ignore[attr-defined] # as Django's own do
        holds = Q(*(check.condition for check in checks)).check(values)
        left = [one for one in self._meta.constraints if not (holds and one in checks)]
        return [(type(self), left)]

    @property
    def ref(self) -> str:
        return f"key:{self.pk}"

    @property
    def facts(self) -> Facts:
        """Return what the clauses judge."""
        return Facts(
            kind=self.kind,
            environment=self.environment,
            classification=self.classification,
            access=self.access,
            created_on=self.created_on,
            last_rotated_on=self.last_rotated_on,
            storage_medium=self.storage_medium,
            is_exportable=self.is_exportable,
            has_runbook=bool(self.runbook_url),
        )


class KeyVersion(models.Model):
    """One generation of a key's material, which carries the NIST state; the list of them is the rotation history."""

    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(
        max_length=30, choices=State, default=State.PRE_ACTIVATION, db_default=State.PRE_ACTIVATION, editable=False
    )
    generated_on = models.DateField(null=True)
    activated_at = models.DateTimeField(null=True)
    suspended_at = models.DateTimeField(null=True)
    deactivated_at = models.DateTimeField(null=True)
    compromised_at = models.DateTimeField(null=True)
    destroyed_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revocation_reason = models.CharField(max_length=30, choices=RevocationReason, blank=True)
    # Keyed digest of the material, the same wherever the same material is: inventory.services.digests.
    reuse_digest = models.BinaryField(null=True, editable=False)
    # What was seen in a public key or certificate before it was dropped: codes of algorithms.weaknesses, its last day.
    weaknesses = ArrayField(models.CharField(max_length=40), default=list, db_default=[], blank=True, editable=False)
    expires_on = models.DateField(null=True, editable=False)

    objects: ClassVar[models.Manager["KeyVersion"]] = StatefulQuerySet["KeyVersion"].as_manager()

    class Meta:
        base_manager_name = "objects"
        ordering = ["key", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["key", "number"], name="keyversion_number_unique"),
            models.CheckConstraint(condition=Q(number__gte=1), name="keyversion_number_positive"),
            models.CheckConstraint(
                condition=Q(reuse_digest__isnull=True) | Q(Exact(Length("reuse_digest"), REUSE_DIGEST_BYTES)),
                name="keyversion_reuse_digest_whole",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[State.DESTROYED, State.DESTROYED_COMPROMISED]) | Q(destroyed_at__isnull=False),
                name="keyversion_destroyed_has_date",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[State.COMPROMISED, State.DESTROYED_COMPROMISED])
                | Q(compromised_at__isnull=False),
                name="keyversion_compromised_has_date",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.COMPROMISED) | Q(revoked_at__isnull=False) & ~Q(revocation_reason=""),
                name="keyversion_compromised_is_revoked",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.SUSPENDED) | Q(suspended_at__isnull=False),
                name="keyversion_suspended_has_date",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.DEACTIVATED) | Q(deactivated_at__isnull=False),
                name="keyversion_deactivated_has_date",
            ),
        ]
        indexes = [
            models.Index(fields=["reuse_digest"], condition=Q(reuse_digest__isnull=False), name="keyversion_reuse"),
        ]

    def __str__(self) -> str:
        return f"{self.key} v{self.number}"
