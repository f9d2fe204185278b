"""Orders to key stores: what is to be done there, step by step, and what was seen of it."""

from django.db import models
from django.db.models import Q

from inventory.models import KekVersion, Key
from rotation.models.requests import Request


class Act(models.TextChoices):
    """What is ordered. Stored, never renamed; each that needs votes has the code of its operation."""

    CREATE = "kek.create", "make a KEK, or take over one that is there"
    LINK = "kek.link", "link a record to a KEK in its store"
    ROTATE = "kek.rotate", "rotate a KEK"
    DISABLE = "kek.disable", "disable a KEK version"
    SCHEDULE = "kek.schedule", "schedule a KEK version for destruction"
    PURGE = "kek.purge", "destroy a KEK version at once"
    RECOVER = "kek.recover", "recover or enable a KEK version"
    NEW_DEK = "dek.create", "make a DEK"
    ROTATE_DEK = "dek.rotate", "rotate a DEK"


class OrderState(models.TextChoices):
    WAITING = "waiting", "waiting"
    DOING = "doing", "being done"
    WATCHING = "watching", "done there, watched until it is over"  # a destruction that was scheduled
    DONE = "done", "done"
    FAILED = "failed", "failed"  # may be tried again
    CANCELLED = "cancelled", "cancelled"


LIVE_ORDERS = (OrderState.WAITING, OrderState.DOING, OrderState.WATCHING, OrderState.FAILED)
# One order at a time is about a key. What is merely watched until its waiting time is over keeps nobody from rotating.
BUSY_ORDERS = (OrderState.WAITING, OrderState.DOING, OrderState.FAILED)


class Order(models.Model):
    """One thing to be done in a key store. Written with what was decided; a worker does it, looking before each act.

    Triggers see to it that what needs votes is ordered while its request is carried out, about the key the request
    names, and that nothing is disabled or destroyed that is not closed to wraps (rotation/0011_orders).
    """

    act = models.CharField(max_length=20, choices=Act)
    request = models.ForeignKey(Request, on_delete=models.PROTECT, null=True, related_name="orders")
    key = models.ForeignKey(Key, on_delete=models.PROTECT, null=True, related_name="orders")  # none before it is made
    kek_version = models.ForeignKey(KekVersion, on_delete=models.PROTECT, null=True, related_name="orders")
    parameters = models.JSONField(default=dict)  # of the request; plain, nothing secret
    reason = models.CharField(max_length=2000, blank=True)
    asked_by_ref = models.CharField(max_length=100)
    created_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=OrderState, default=OrderState.WAITING)
    seen = models.JSONField(default=dict)  # of the store: which versions were there before, what was found after
    looks = models.PositiveSmallIntegerField(default=0)  # equal ones, after the act
    attempts = models.PositiveIntegerField(default=0)  # in vain, one after the other
    next_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    closed_because = models.CharField(max_length=500, blank=True)  # what stood in the way, or how it ended

    class Meta:
        ordering = ["-created_at", "-pk"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=Q(state__in=BUSY_ORDERS), name="order_one_busy_for_a_key"
            ),
            models.UniqueConstraint(
                fields=["kek_version"], condition=Q(state=OrderState.WATCHING), name="order_one_watched_for_a_version"
            ),
            models.UniqueConstraint(fields=["request", "key"], name="order_once_for_a_request"),
            models.CheckConstraint(
                condition=~Q(state=OrderState.DOING) | Q(leased_until__isnull=False), name="order_doing_has_lease"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["done", "cancelled"]) & Q(closed_at__isnull=False)
                | ~Q(state__in=["done", "cancelled"]) & Q(closed_at__isnull=True),
                name="order_closed_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["next_at"], condition=Q(state__in=["waiting", "doing", "watching"]), name="order_due"),
            models.Index(fields=["-created_at", "-id"], name="order_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.get_act_display()}: {self.key or self.parameters.get('name', '')}"

    @property
    def ref(self) -> str:
        return f"order:{self.pk}"
