"""What a search finds a key by, beside the key: its index costs nothing when only dates of the key change."""

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Left, Upper

from inventory.models.key import Key

LONGEST_NAME = 200  # characters: the text begins with the name, so this many tell how the name begins


class KeySearch(models.Model):
    """One text a key: its name, purpose, service, people, algorithm, place and secret name, one a line.

    Kept by triggers of the tables that the words come from (migration 0011); no login role writes it. A migration that
    changes the type of such a column has to drop the trigger key_said and make it again.
    """

    key = models.OneToOneField(Key, on_delete=models.CASCADE, primary_key=True, related_name="search")
    text = models.TextField()

    class Meta:
        default_permissions = ()
        indexes = [
            GinIndex(OpClass(Upper("text"), name="gin_trgm_ops"), name="keysearch_text"),
            models.Index(
                OpClass(Upper(Left("text", LONGEST_NAME)), name="text_pattern_ops"), name="keysearch_begins"
            ),  # short searches
        ]

    def __str__(self) -> str:
        return self.text
