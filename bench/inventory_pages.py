"""The pages that bench.inventory asks for, each with the bare statement that fetches the rows it shows."""

from dataclasses import dataclass
from typing import LiteralString

LATE = "k.rotate_by <= now() AND k.state IN ('active', 'suspended', 'compromised')"
KEYS = """
SELECT k.*, o.*, s.*, c.* FROM inventory_key k LEFT JOIN inventory_owner o ON o.id = k.owner_id
  LEFT JOIN inventory_service s ON s.id = k.service_id LEFT JOIN inventory_policyclause c ON c.id = k.winning_clause_id
  {join} WHERE {where} ORDER BY {order} LIMIT 51
"""
FOUND = "JOIN inventory_keysearch w ON w.key_id = k.id"
COUNTED = """
SELECT r.*, (SELECT count(*) FROM inventory_key k WHERE k.{name}_id = r.id),
       (SELECT count(*) FROM inventory_key k WHERE k.{name}_id = r.id AND {late})
  FROM inventory_{name} r ORDER BY {order} LIMIT 50
"""
CLAUSES = """
SELECT kind, environment, classification, access, winning_clause_id, count(*) FROM inventory_key GROUP BY 1, 2, 3, 4, 5
"""
DUE, AGE = "k.rotate_by", "coalesce(k.last_rotated_on, k.created_on)"


@dataclass(frozen=True)
class Page:
    """A page: its address, the bare statement, and what marks those statements of ours which fetch the same."""

    name: str
    address: str
    bare: LiteralString = ""
    marks: tuple[str, ...] = ("keyset_value",)


def _list(name: str, query: str, where: str = "true", order: str = f"{DUE}, k.id", join: str = "") -> Page:
    return Page(name, f"/inventory/key/?{query}", KEYS.format(where=where, order=order, join=join))


def pages(key: int) -> list[Page]:
    """Return what is asked, in the order of the table; `key` is the one whose dossier is read."""
    staging = "k.environment = 'staging'"
    return [
        _list("keys, first page", ""),
        _list("keys by due, descending", "o=-6", f"{DUE} IS NOT NULL", f"{DUE} DESC, k.id DESC"),
        _list("keys by name", "o=0", order="k.name"),
        _list("keys by name, descending", "o=-0", order="k.name DESC"),
        _list("keys by age", "o=5", order=f"{AGE}, k.id"),
        _list("keys by age, descending", "o=-5", f"{AGE} IS NOT NULL", f"{AGE} DESC, k.id DESC"),
        _list("keys, last page", "before=end", order=f"{DUE} DESC, k.id DESC"),
        _list("filter 10 %", "environment__exact=staging", staging),
        _list("filter 10 %, by name", "environment__exact=staging&o=0", staging, "k.name"),
        _list("filter 10 %, by age", "environment__exact=staging&o=5", staging, f"{AGE}, k.id"),
        _list("overdue", "due=overdue", LATE),
        _list("one owner", "owner=7", "k.owner_id = 7"),
        _list("one large service", "service=41", "k.service_id = 41"),
        _list("one clause", "clause=1", "k.winning_clause_id = 1"),
        _list("owner and service", "owner=8&service=41&o=0", "k.owner_id = 8 AND k.service_id = 41", "k.name"),
        _list("age unknown", "missing=age", "k.last_rotated_on IS NULL AND k.created_on IS NULL"),
        _list("search, rare word", "q=quince77", "w.text LIKE '%QUINCE77%'", join=FOUND),
        _list("search, frequent word", "q=payments", "w.text LIKE '%PAYMENTS%'", join=FOUND),
        _list("search, frequent, by name", "q=payments&o=0", "w.text LIKE '%PAYMENTS%'", "k.name", FOUND),
        _list("search, every key", "q=token", "w.text LIKE '%TOKEN%'", join=FOUND),
        _list("search, no key", "q=xyzzyx", "w.text LIKE '%XYZZYX%'", join=FOUND),
        _list("search, two letters", "q=k9", "w.beginning LIKE 'K9%'", join=FOUND),
        _list("search and filter", "q=payments&environment__exact=test",
              "w.text LIKE '%PAYMENTS%' AND k.environment = 'test'", join=FOUND),
        Page("owners", "/inventory/owner/", COUNTED.format(name="owner", order="r.handle", late=LATE),
             ('"inventory_owner"."mail"', "keys_held")),
        Page("services", "/inventory/service/", COUNTED.format(name="service", order="r.name", late=LATE),
             ('"inventory_service"."description"', "keys_held")),
        Page("services, most late first", "/inventory/service/?o=-5",
             COUNTED.format(name="service", order="9 DESC", late=LATE),
             ('"inventory_service"."description"', "keys_held")),
        Page("clauses", "/inventory/policyclause/", CLAUSES, ("WITH RECURSIVE",)),
        Page("posture", "/"),
        Page("dossier", f"/inventory/key/{key}/change/"),
    ]  # fmt: skip
