"""A mixed inventory of any size for bench.inventory, the same in every run: copied in without indexes or triggers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
MIDNIGHT = NOW.replace(hour=0)
FEW_LATE, MANY_LATE = MIDNIGHT + timedelta(days=1), MIDNIGHT + timedelta(days=2)  # when 0.1 % and 3 % become late
SERVICES, PAYMENTS, LARGE = 500, 40, 41  # the first 40 are called "payments …", number 41 has a tenth of all keys
CHANGED_KIND = "webhook_secret"  # 5 % of the keys, on which a clause of the benchmark speaks
COLUMNS = (
    "name", "kind", "owner_id", "creator_id", "service_id", "purpose", "created_on", "last_rotated_on",
    "never_rotated", "environment", "classification", "access", "algorithm", "size_bits", "storage_medium",
    "storage_location", "generation_method", "secret_name", "runbook_url", "labels", "notes", "state",
    "current_number", "rotate_by", "winning_clause_id", "flagged_overdue_at", "next_notice_at", "revision",
)  # fmt: skip
ALGORITHMS = ("AES-256-GCM", "RSA-2048", "Ed25519", "RSA-3072", "", "HMAC-SHA-256")
KINDS = ("api_token", "dek", "tls_certificate", "personal_token", "ssh_key", "database_credential", "kek")
OTHERS = {3: "staging", 4: "test", 6: "development"}  # environments of a tenth each; the rest is production
NOTICES = (30, 7, 0)
# Days until a key is late on which neither of the two instants crosses a threshold of another key.
DAYS = tuple(day for day in range(3, 89) if day not in {8, 9, 31, 32})
Verdicts = dict[str, tuple[int | None, int | None]]  # "kind|environment|classification|access" → days, clause

PEOPLE = """
INSERT INTO inventory_owner (handle, mail, kind, is_active, revision)
SELECT 'person' || n, 'p' || n || '@example.org', 'person', true, 1 FROM generate_series(1, %s) n
"""
OF_SERVICES = """
INSERT INTO inventory_service (name, description, data_classes, revision)
SELECT CASE WHEN n <= %s THEN 'payments ' ELSE 'service ' END || n, '', '{}', 1 FROM generate_series(1, %s) n
"""
VERSIONS = """
INSERT INTO inventory_keyversion (key_id, number, state, generated_on, activated_at, suspended_at, compromised_at,
                                  revoked_at, revocation_reason)
SELECT id, 1, state, last_rotated_on, created_on, CASE state WHEN 'suspended' THEN now() END,
       CASE state WHEN 'compromised' THEN now() END, CASE state WHEN 'compromised' THEN now() END,
       CASE state WHEN 'compromised' THEN 'key_compromise' ELSE '' END
  FROM inventory_key
"""
WORDS = "SELECT inventory_write_words(ARRAY(SELECT id FROM inventory_key))"
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
 WHERE tablename IN ('inventory_key', 'inventory_keysearch', 'inventory_keyversion')
   AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""


def fill(owner: psycopg.Connection, keys: int, verdicts: Verdicts) -> None:
    """Copy the keys in and make the indexes afterwards; foreign keys and triggers are left out meanwhile."""
    people = max(keys // 200, 10)
    owner.execute(PEOPLE, [people])
    owner.execute(OF_SERVICES, [PAYMENTS, SERVICES])
    owner.execute("SET maintenance_work_mem = '512MB'")
    owner.execute("SET max_parallel_maintenance_workers = 1")
    indexes = owner.execute(INDEXES).fetchall()
    for name, _ in indexes:
        owner.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    owner.execute("SET session_replication_role = replica")
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    with owner.cursor().copy(sql.SQL("COPY inventory_key ({}) FROM STDIN").format(names)) as copy:
        for row in rows(keys, people, verdicts):
            copy.write_row(row)
    print("  copied", flush=True)
    for statement in (VERSIONS, WORDS):
        owner.execute(statement)
    owner.execute("SET session_replication_role = origin")
    for _, made in indexes:
        owner.execute(made)
    owner.commit()
    print("  indexed", flush=True)


def rows(keys: int, people: int, verdicts: Verdicts) -> Iterator[tuple[object, ...]]:
    """Yield the keys: 3 % late, 2 % of unknown age, 10 % of staging, 20 % of services that are called "payments …"."""
    for number in range(keys):
        spread = (number * 7_919) % 1_000  # even over all numbers, and the same in every run
        facts = _facts(number, spread)
        days, clause = verdicts["|".join(facts)]
        due = _due(number, spread, days)
        rotated = due - timedelta(days=days) if due and days else None
        service = number % PAYMENTS + 1 if spread % 5 == 1 else LARGE if spread % 10 == 2 else LARGE + number % 459 + 1
        yield (
            f"k{number % 97}-{spread}/{'quince77' if number % 50_000 == 77 else 'token'}-{number}",
            facts[0], number % people + 1 if number % 100 else None, number % people + 1, service, "what it is for",
            rotated, rotated, False, *facts[1:], ALGORITHMS[number % 6], 256, "key_vault", f"vault://kv/{number}", "",
            "", "", "{}", "", _state(number, spread), 1, due, clause if due else None,
            NOW if due and due <= NOW else None, _next_notice(due), 1,
        )  # fmt: skip


def _facts(number: int, spread: int) -> tuple[str, str, str, str]:
    kind = CHANGED_KIND if spread % 20 == 7 else KINDS[number % 7]
    environment = OTHERS.get(spread % 10, "production")
    return (
        kind,
        environment,
        "restricted" if number % 20 == 0 else "internal",
        "production" if environment == "production" else "none",
    )


def _due(number: int, spread: int, days: int | None) -> datetime | None:
    if days is None or spread in range(600, 620):
        return None
    if spread < 30:
        return FEW_LATE if spread == 0 else MANY_LATE
    if spread in range(500, 530):
        return MIDNIGHT - timedelta(days=1 + number % 60)
    further = 90 * (number // 7 % 3) if days > 300 else 0
    return MIDNIGHT + timedelta(days=DAYS[number * 31 % len(DAYS)] + further)


def _next_notice(due: datetime | None) -> datetime | None:
    """Return when somebody is told next; whatever lies before NOW has been told."""
    ahead = [due - timedelta(days=days) for days in NOTICES] if due else []
    return min((instant for instant in ahead if instant > NOW), default=None)


def _state(number: int, spread: int) -> str:
    if spread < 30:
        return "active"
    return {1: "suspended", 2: "compromised"}.get(number % 2_000, "active" if spread % 50 else "pre_activation")
