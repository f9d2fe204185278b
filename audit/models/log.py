"""The log as Django reads it. Every write happens inside the database: `audit_append` and the trigger behind it.

`audit_pending` has no model: an event stands there from `record()` to the end of its transaction, and no role of ours
may look.
"""

from django.db import models


class Event(models.Model):
    """One event. `stamp` and `body` are the record; all columns after `identity` are copies of what they say."""

    number = models.BigIntegerField(primary_key=True)  # 1, 2, 3 … without a gap
    event_id = models.UUIDField(db_column="id")
    digest = models.BinaryField()
    stamp = models.BinaryField()
    body = models.BinaryField()
    identity = models.BinaryField(null=True)  # sealed under the key of `body.identity_holder`

    action = models.TextField()
    outcome = models.TextField()
    at = models.DateTimeField()  # the business time that the caller gave
    recorded_at = models.DateTimeField()  # the server's clock
    actor_kind = models.TextField()
    actor_id = models.TextField()
    actor_role = models.TextField()
    on_behalf_of = models.TextField()
    path = models.TextField()

    class Meta:
        db_table = "audit_event"
        default_permissions = ("view",)
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"event {self.number}"


class EventSubject(models.Model):
    """The index from a subject to its events, so that each key has its timeline."""

    pk = models.CompositePrimaryKey("subject", "number")
    subject = models.TextField()  # "key:12"
    number = models.BigIntegerField()
    position = models.IntegerField()  # 1, 2, 3 … in the event's list of subjects

    class Meta:
        db_table = "audit_event_subject"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.subject} in event {self.number}"


class Head(models.Model):
    """The one row that says where the chain ends; locked while an event is added."""

    single = models.BooleanField(primary_key=True)
    number = models.BigIntegerField()
    digest = models.BinaryField()

    class Meta:
        db_table = "audit_head"
        default_permissions = ()

    def __str__(self) -> str:
        return f"head at {self.number}"


class IdentityKey(models.Model):
    """A person's key, sealed; erasing it makes that person's identities in the log unreadable for good."""

    person = models.TextField(primary_key=True)
    sealed_key = models.BinaryField(null=True)
    created_at = models.DateTimeField()
    erased_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "audit_identity_key"
        default_permissions = ()

    def __str__(self) -> str:
        return self.person
