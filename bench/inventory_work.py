"""What bench.inventory does to many keys at once, beside the bare UPDATE of the same rows; all of it is rolled back."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter

from bench.inventory_keys import CHANGED_KIND, FEW_LATE, MANY_LATE, NOW

DAYS = 45  # what the clause of the benchmark demands
CLAUSE = {
    "source": "bench", "document": "Benchmark", "section": "1", "text": "Sooner.", "kinds": [CHANGED_KIND],
    "longest_age_days": DAYS,
}  # fmt: skip
FLAG = """
WITH late AS (
    UPDATE inventory_key SET flagged_overdue_at = %(now)s, next_notice_at = NULL
     WHERE next_notice_at <= %(now)s AND state IN ('active', 'suspended', 'compromised') RETURNING id, rotate_by
)
INSERT INTO bench_late (key_id, action, at, rotate_by) SELECT id, 'key.flagged_overdue', %(now)s, rotate_by FROM late
"""
SIMULATE = """
SELECT count(*), count(*) FILTER (WHERE due <= now() AND state IN ('active', 'suspended', 'compromised')),
       count(DISTINCT owner_id)
  FROM (SELECT owner_id, state, rotate_by,
               (coalesce(last_rotated_on, created_on) + CASE WHEN kind = %(kind)s THEN %(days)s
                WHEN environment = 'production' OR access IN ('production', 'customer', 'both', 'either') THEN 90
                ELSE 365 END)::timestamp AT TIME ZONE 'UTC' AS due
          FROM inventory_key) judged
 WHERE due IS DISTINCT FROM rotate_by
"""
MOVE = """
UPDATE inventory_key
   SET rotate_by = (coalesce(last_rotated_on, created_on) + %(days)s)::timestamp AT TIME ZONE 'UTC',
       winning_clause_id = 1, flagged_overdue_at = NULL,
       next_notice_at = (coalesce(last_rotated_on, created_on) + %(days)s)::timestamp AT TIME ZONE 'UTC' - %(notice)s
 WHERE kind = %(kind)s AND rotate_by IS NOT NULL
"""
MOVE_ALL = """
UPDATE inventory_key SET rotate_by = rotate_by - %(less)s, winning_clause_id = winning_clause_id,
       flagged_overdue_at = NULL, next_notice_at = rotate_by - %(less)s - %(notice)s
 WHERE rotate_by IS NOT NULL
"""
Pair = tuple[str, Callable[[], object], Callable[[], object]]  # what it is, the bare statement, ours


def timed(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def rolled_back(work: Callable[[], object]) -> float:
    """Time work in a transaction, with the sealing of its events, and undo it."""
    from django.db import connection, transaction

    def all_of_it() -> None:
        work()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    with transaction.atomic():
        taken = timed(all_of_it)
        transaction.set_rollback(True)
    return taken


def bare(statement: str, **parameters: object) -> Callable[[], None]:
    def work() -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    return work


def flagging() -> list[Pair]:
    """Return the work of the worker."""
    from audit.actor import Actor
    from rotation.overdue import flag_overdue

    def flag(now: datetime) -> None:
        done = flag_overdue(actor=Actor.system("worker"), now=now)
        assert done.newly_late == done.notices, done

    return [
        (f"flag {share} newly late", bare(FLAG, now=now), partial(flag, now))
        for share, now in (("0.1 %", FEW_LATE), ("3 %", MANY_LATE))
    ]


def rules() -> list[Pair]:
    """Return the work of a person of Security, the greatest last."""
    from audit.actor import Actor
    from inventory import services
    from inventory.effects import effect_of, simulate
    from inventory.models import PolicyClause, ThreatLevel
    from inventory.selectors import rules_if
    from inventory.services.clauses import move_dates

    actor, level = Actor.system("web"), ThreatLevel.objects.get()
    notice = timedelta(days=30)

    def save() -> None:
        """Do what carrying out a request does to the keys, without the votes: the database guards the clause alone."""
        ageless = PolicyClause.objects.filter(is_in_force=True, longest_age_days=None).latest("pk")
        ageless.kinds, ageless.longest_age_days, ageless.access = [CHANGED_KIND], DAYS, []
        clauses = rules_if(clause=ageless)
        effect = effect_of(clauses, NOW)
        assert move_dates(clauses) == effect.changed

    def raise_level() -> None:
        services.set_threat_level(
            changes={"level": "high"}, expected_revision=level.revision, actor=actor, reason="to see", now=NOW
        )

    return [
        (
            "clause, simulated",
            bare(SIMULATE, kind=CHANGED_KIND, days=DAYS),
            lambda: simulate(clause=PolicyClause(code="bench", **CLAUSE), now=NOW),
        ),
        ("clause, saved: 5 % change", bare(MOVE, kind=CHANGED_KIND, days=DAYS, notice=notice), save),
        ("threat level: all change", bare(MOVE_ALL, less=timedelta(days=45), notice=notice), raise_level),
    ]
