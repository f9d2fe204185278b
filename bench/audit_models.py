"""The two tables of the floor in `bench.audit`."""

from django.db import models


class Row(models.Model):  # noqa: DJ008 - never shown
    name = models.TextField()
    revision = models.BigIntegerField()

    class Meta:
        app_label = "bench"
        managed = False
        db_table = "bench_row"


class PlainEvent(models.Model):  # noqa: DJ008 - never shown
    number = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(db_column="id")
    body = models.BinaryField()
    action = models.TextField()
    outcome = models.TextField()
    at = models.DateTimeField()
    actor_id = models.TextField()
    subject = models.TextField()

    class Meta:
        app_label = "bench"
        managed = False
        db_table = "bench_event"
