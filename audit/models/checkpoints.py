"""What the signer says about the log: checkpoints, the tiles of the tree, and the deliveries that anchor them outside.

Only the signer's login writes these three; checkpoints and epochs are never changed or deleted by any login.
"""

from django.db import models


class SigningEpoch(models.Model):
    """One signing key of this log. Rotating begins the next epoch; checkpoints of earlier ones stay valid."""

    epoch = models.IntegerField(primary_key=True)  # 1, 2, 3 …
    verifier = models.TextField(unique=True)  # the public key as a C2SP vkey
    begun_at = models.DateTimeField()

    class Meta:
        db_table = "audit_signing_epoch"
        default_permissions = ()
        constraints = [models.CheckConstraint(name="audit_signingepoch_counts", condition=models.Q(epoch__gte=1))]

    def __str__(self) -> str:
        return f"epoch {self.epoch}"


class SignedCheckpoint(models.Model):
    """A signed note over the log at one size; `note` is the record, the other columns are copies of what it says."""

    size = models.BigIntegerField(primary_key=True)
    epoch = models.ForeignKey(SigningEpoch, models.PROTECT, db_column="epoch", related_name="checkpoints")
    root = models.BinaryField()  # RFC 6962, 32 bytes
    head = models.BinaryField()  # digest of the event with that number
    made_at = models.DateTimeField()
    note = models.TextField()
    digest = models.BinaryField(unique=True)  # SHA-256 of the note's text: how the next one names this one

    class Meta:
        db_table = "audit_checkpoint"
        default_permissions = ("view",)
        ordering = ["-size"]

    def __str__(self) -> str:
        return f"checkpoint at {self.size}"


class Tile(models.Model):
    """Up to 256 digests of full nodes, as `audit.tree` describes; only a tile that is not full yet is replaced."""

    pk = models.CompositePrimaryKey("level", "index")
    level = models.SmallIntegerField()
    index = models.BigIntegerField()
    digests = models.BinaryField()

    class Meta:
        db_table = "audit_tile"
        default_permissions = ()

    def __str__(self) -> str:
        return f"tile {self.level}/{self.index}"


class Anchoring(models.Model):
    """One checkpoint on its way to one anchor outside this database."""

    class State(models.TextChoices):
        """How far it has come."""

        WAITING = "waiting"  # to be tried at `next_at`
        DELIVERED = "delivered"
        GIVEN_UP = "given up"

    checkpoint = models.ForeignKey(
        SignedCheckpoint, models.PROTECT, db_column="size", related_name="anchorings", to_field="size"
    )
    anchor = models.TextField()  # its name in the settings: "file", "mail"
    state = models.TextField(choices=State.choices, default=State.WAITING)
    tries = models.IntegerField(default=0)
    next_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)
    receipt = models.TextField(blank=True)  # what the anchor answered: a path, a message id, a version id
    error = models.TextField(blank=True)  # a sentence; never an address with a password

    class Meta:
        db_table = "audit_anchoring"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(name="audit_anchoring_once", fields=["checkpoint", "anchor"]),
            models.CheckConstraint(
                name="audit_anchoring_delivered_has_time",
                condition=models.Q(state="delivered", delivered_at__isnull=False)
                | (~models.Q(state="delivered") & models.Q(delivered_at__isnull=True)),
            ),
        ]
        indexes = [
            models.Index(name="audit_anchoring_waiting", fields=["next_at"], condition=models.Q(state="waiting"))
        ]

    def __str__(self) -> str:
        return f"{self.checkpoint_id} to {self.anchor}"
