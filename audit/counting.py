"""Figures that cost the same however long a table is: exact up to COUNTED, then "more than", or an estimate."""

from django.db import connection
from django.db.models import Model, QuerySet

COUNTED = 10_000


def count_up_to(queryset: QuerySet, most: int = COUNTED) -> int:
    """Count rows, and stop at one more than `most`. Queries: 1."""
    return queryset.order_by().values("pk")[: most + 1].count()


def estimated_count(model: type[Model]) -> int:
    """Return how many rows the table had when it was last analysed; 0 while nobody knows. Queries: 1."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)", [model._meta.db_table])
        found = cursor.fetchone()
    return max(found[0], 0) if found else 0


def shown(count: int) -> str:
    """Return a figure of `count_up_to` in words: "10,000+" stands for more than that."""
    return f"{count:,}" if count <= COUNTED else f"{COUNTED:,}+"


def about(count: int) -> str:
    """Return an estimate in words, to three figures: "about 1,000,000"."""
    rounded = int(float(f"{count:.2e}"))
    return f"about {rounded:,}"
