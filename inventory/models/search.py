"""What a search finds a key by, beside the key: its index costs nothing when only dates of the key change."""

from django.contrib.postgres.indexes import GinIndex
from django.db import models

from inventory.models.key import Key


class KeySearch(models.Model):
    """One text a key, in capitals: its name, purpose, service, people, algorithm, place and secret name, one a line.

    In capitals, so that a search compares hundreds of thousands of texts and converts none. Kept by triggers of the
    tables that the words come from (migrations 0011, 0021); no login role writes it. A migration that changes the type
    of such a column has to drop the trigger key_said and make it again.
    """

    key = models.OneToOneField(Key, on_delete=models.CASCADE, primary_key=True, related_name="search")
    text = models.TextField()
    beginning = models.TextField()  # the name, in capitals

    class Meta:
        default_permissions = ()
        indexes = [
            GinIndex(fields=["text"], opclasses=["gin_trgm_ops"], name="keysearch_text"),
            models.Index(
                fields=["beginning"], opclasses=["text_pattern_ops"], include=["key"], name="keysearch_begins"
            ),  # short searches, which are counted off the index
        ]

    def __str__(self) -> str:
        return self.text
