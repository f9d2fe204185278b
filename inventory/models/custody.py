"""KEKs in their key stores, DEKs, and which KEK version wraps which DEK version. Never anything in clear."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact

from inventory.models.key import Key, KeyVersion
from inventory.models.service import Service
from inventory.terms import HoldKind, StoreStatus

BINDING_BYTES = 32
LONGEST_URI = 200
LONGEST_ID = 64


class Kek(models.Model):
    """Where a KEK lives. Its generations are versions of the key; one of them, the primary, takes new wraps."""

    key = models.OneToOneField(Key, on_delete=models.PROTECT, primary_key=True, related_name="kek")
    uri = models.CharField(max_length=LONGEST_URI, unique=True)  # "openbao:main/payments": scheme, store, name there
    algorithm = models.CharField(max_length=30)  # kms.base.WrapAlgorithm
    primary = models.ForeignKey("KekVersion", on_delete=models.PROTECT, null=True, related_name="+")
    newest_seen = models.CharField(max_length=LONGEST_ID, blank=True)  # in the store: a lower one later is a roll-back
    looked_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(uri__regex=r"^[a-z0-9]+:[A-Za-z0-9_-]+/[!-~]+$"), name="kek_has_uri"),
        ]

    def __str__(self) -> str:
        return self.uri


class KekVersion(models.Model):
    """One generation of a KEK as its store has it. Once closed it takes no wraps, and nothing is under it.

    Triggers look: it is closed only while nothing is under it and nothing holds it (inventory/0020_custody).
    """

    version = models.OneToOneField(KeyVersion, on_delete=models.PROTECT, primary_key=True, related_name="kek_version")
    kek = models.ForeignKey(Kek, on_delete=models.PROTECT, related_name="versions")
    store_id = models.CharField(max_length=LONGEST_ID)  # how the store names it
    status = models.CharField(max_length=10, choices=StoreStatus, default=StoreStatus.ENABLED)  # as last seen there
    status_at = models.DateTimeField()
    scheduled_for = models.DateTimeField(null=True)  # when the store destroys it
    closed_at = models.DateTimeField(null=True)
    canary = models.BinaryField(null=True)  # a wrapped DEK that protects nothing: shows whether this still opens
    death = models.CharField(max_length=200, blank=True)  # what was seen of its end, in words
    death_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["kek", "store_id"], name="kekversion_store_id_unique")]

    def __str__(self) -> str:
        return f"{self.kek} v{self.store_id}"


class DekVersion(models.Model):
    """One generation of a DEK: what proves that a wrapped one is this row's, and what it is for no more."""

    version = models.OneToOneField(KeyVersion, on_delete=models.PROTECT, primary_key=True, related_name="dek_version")
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="dek_versions", db_index=False)
    number = models.PositiveIntegerField()  # of the version; a copy, for reading thousands
    binding = models.BinaryField(null=True)  # envelope.binding_digest(); of a DEK taken over, after its first opening
    context = models.BinaryField(default=b"", db_default=b"")  # empty: envelope.context_of()
    reencrypted_at = models.DateTimeField(null=True)  # nothing is encrypted under it any more, somebody says
    reencrypted_by = models.CharField(max_length=100, blank=True)
    cleared_at = models.DateTimeField(null=True)  # its wrappings are gone

    class Meta:
        default_permissions = ()
        permissions = [
            ("create_dek", "Can have a DEK made or rotated"),
            ("hand_out_dek", "Can hand out a wrapped DEK and confirm what was handed out"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["key", "number"], name="dekversion_unique"),
            models.CheckConstraint(
                condition=Q(binding__isnull=True) | Q(Exact(Length("binding"), BINDING_BYTES)),
                name="dekversion_binding_whole",
            ),
        ]

    def __str__(self) -> str:
        return f"DEK {self.key_id} v{self.number}"

    @property
    def dek_id(self) -> bytes:
        """Return what is bound into digest and context; it never changes."""
        return f"key:{self.key_id}".encode()


class Wrapping(models.Model):
    """A DEK version wrapped under a KEK version, as envelope.pack() writes it. Added and removed, never changed.

    No foreign keys: a trigger looks at all rows of a statement at once, and no login deletes either version. The last
    wrapping of a DEK is never removed but by votes; an earlier one only while a later KEK version's stands.
    """

    pk = models.CompositePrimaryKey("kek_version_id", "dek_version_id")
    kek_version = models.ForeignKey(
        KekVersion, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="wrappings"
    )
    dek_version = models.ForeignKey(
        DekVersion, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="wrappings"
    )
    wrapped = models.BinaryField()

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["dek_version", "kek_version"], name="wrapping_of_dek")]

    def __str__(self) -> str:
        return f"{self.dek_version_id} under {self.kek_version_id}"


class KekVersionHold(models.Model):
    """What outside of the wrappings still needs a KEK version: a retained backup, a source elsewhere."""

    kek_version = models.ForeignKey(KekVersion, on_delete=models.PROTECT, related_name="holds")
    kind = models.CharField(max_length=10, choices=HoldKind)
    ref = models.CharField(max_length=100)  # "dump:12", "source:3"
    because = models.CharField(max_length=300)
    held_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)
    released_because = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["kek_version", "kind", "ref"], condition=Q(released_at__isnull=True), name="hold_once"
            ),
            models.CheckConstraint(
                condition=Q(released_at__isnull=True, released_because="")
                | Q(released_at__isnull=False) & ~Q(released_because=""),
                name="hold_released_says_why",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.ref} needs {self.kek_version_id}"


class HandOut(models.Model):
    """A wrapped DEK that a service was given. It depends on that KEK version until the service confirms a later one."""

    dek_version = models.ForeignKey(DekVersion, on_delete=models.PROTECT, related_name="hand_outs")
    kek_version = models.ForeignKey(KekVersion, on_delete=models.PROTECT, related_name="hand_outs")
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="hand_outs")
    handed_at = models.DateTimeField()
    handed_by = models.CharField(max_length=100)
    confirmed_at = models.DateTimeField(null=True)  # that the service uses this copy no more
    confirmed_by = models.CharField(max_length=100, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["dek_version", "kek_version", "service"],
                condition=Q(confirmed_at__isnull=True),
                name="handout_once",
            ),
        ]
        indexes = [
            models.Index(fields=["kek_version"], condition=Q(confirmed_at__isnull=True), name="handout_unconfirmed"),
        ]

    def __str__(self) -> str:
        return f"{self.dek_version_id} to {self.service_id}"
