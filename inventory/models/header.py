"""What people have said of headers that nobody would understand without them."""

from django.db import models

LONGEST_HEADER = 200


class HeaderMapping(models.Model):
    """One header of a file and the field it was imported as; it is proposed for the next file with such a header."""

    header = models.CharField(max_length=LONGEST_HEADER, unique=True)  # folded, as recognise.text compares
    field = models.CharField(max_length=40, blank=True)  # one of reading.FIELDS; "" leaves the column out
    used_at = models.DateTimeField()
    used_by = models.CharField(max_length=40)  # as the log names people: "user:3"

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=~models.Q(header=""), name="headermapping_has_header")]

    def __str__(self) -> str:
        return self.header
