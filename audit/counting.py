"""Figures that cost the same however long a table is: exact up to COUNTED, then "more than", or an estimate."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import Model, QuerySet

COUNTED = 10_000


def count_up_to(queryset: QuerySet, most: int = COUNTED) -> int:
    """Count rows, and stop at one more than `most`. Queries: 1."""
    return queryset.order_by().values("pk")[: most + 1].count()


def count_and_find(queryset: QuerySet, few: int, most: int = COUNTED) -> tuple[int, list[Any] | None]:
    """Count rows like `count_up_to`, and name their primary keys where they are `few` at most. Queries: 1."""
    counted, values = queryset.order_by().values("pk")[: most + 1].query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), CASE WHEN count(*) <= %s THEN array_agg(pk) END "  # noqa: S608 - compiled by Django
            f"FROM ({counted}) AS counted (pk)",
            [few, *values],
        )
        count, keys = cursor.fetchone()
    return int(count), keys or ([] if not count else None)


def count_each(querysets: Mapping[str, QuerySet], most: int = COUNTED) -> dict[str, int]:
    """Count several sets of rows, each up to one more than `most`. Queries: 1, or none for none."""
    if not querysets:
        return {}
    compiled = [rows.order_by().values("pk")[: most + 1].query.sql_with_params() for rows in querysets.values()]
    parts = ", ".join(f"(SELECT count(*) FROM ({one}) AS counted)" for one, _ in compiled)  # noqa: S608 - compiled by Django
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {parts}", [value for _, values in compiled for value in values])
        return dict(zip(querysets, map(int, cursor.fetchone()), strict=True))


def count_or_estimate(model: type[Model]) -> int:
    """Count all rows up to COUNTED; past that say how many there were when the table was last analysed. Queries: 1."""
    every, _ = model._default_manager.order_by().values("pk")[: COUNTED + 1].query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT (SELECT count(*) FROM ({every}) AS counted), "  # noqa: S608 - compiled by Django, without values
            "(SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s))",
            [model._meta.db_table],
        )
        count, estimate = cursor.fetchone()
    return int(count if count <= COUNTED else max(count, estimate))


def estimate_each(querysets: Sequence[QuerySet]) -> list[int]:
    """Say of each set of rows how many the planner expects, by the statistics of the last ANALYZE. Queries: 1, or 0."""
    if not querysets:
        return []
    compiled = [found.order_by().values("pk").query.sql_with_params() for found in querysets]
    every = " UNION ALL ".join(f"({one})" for one, _ in compiled)
    with connection.cursor() as cursor:
        # With less than two there is no Append above them; the row that is none makes it certain.
        cursor.execute(
            f"EXPLAIN (FORMAT JSON) {every} UNION ALL (SELECT 0 OFFSET 0)",
            [one for _, values in compiled for one in values],
        )
        plan = cursor.fetchone()[0][0]["Plan"]
    return [int(one["Plan Rows"]) for one in plan["Plans"][: len(querysets)]]


def shown(count: int) -> str:
    """Return a figure of `count_up_to` in words: "10,000+" stands for more than that."""
    return f"{count:,}" if count <= COUNTED else f"{COUNTED:,}+"


def about(count: int) -> str:
    """Return an estimate in words, to three figures: "about 1,000,000"."""
    rounded = int(float(f"{count:.2e}"))
    return f"about {rounded:,}"
