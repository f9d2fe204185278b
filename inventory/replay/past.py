"""The inventory as the log tells it of a moment, in the columns of an export; and one key of it.

People are called as their records call them today, because the log does not hold their names; whoever has no record
any more is called by their number.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from inventory.models import Owner
from inventory.recognise import is_short_name, written
from inventory.replay.clauses import clause_of
from inventory.replay.comparing import expected
from inventory.replay.folding import Fold
from inventory.replay.running import Run
from inventory.replay.told import Fields, Told, number_of
from inventory.terms import StorageMedium

_FIRST_KEYS = "wrapped_by", "derived_from"


def rows_of(run: Run) -> Iterator[list[str]]:
    """Yield the header and a row for each key as of the end of the run. Runs inside snapshot()."""
    yield list(COLUMNS)
    names: Naming | None = None
    for fold in run.folds():
        names = names or Naming(fold)
        names.know_parents(fold, run)
        for _, told in sorted(fold.keys.items()):
            fields = expected(told, is_cut=run.is_cut)
            yield [_text(of(told, fields, names)) for of in COLUMNS.values()]


class Naming:
    """The names of records at that moment, by reference."""

    def __init__(self, fold: Fold) -> None:
        self._names = {f"owner:{pk}": handle for pk, handle in Owner.objects.values_list("pk", "handle").iterator()}
        for told in fold.records:
            if "name" in told.fields:
                self._names[told.ref] = str(told.fields["name"])
        for told in fold.others["clause"].values():
            if told.is_whole:
                self._names[told.ref] = str(clause_of(told))

    def know_parents(self, fold: Fold, run: Run) -> None:
        """Find out what the keys above those of a fold were called; who is in no fold so far has their events read."""
        self._names |= {told.ref: str(told.fields.get("name") or told.label) for told in fold.keys.values()}
        above = {ref for told in fold.keys.values() for name in _FIRST_KEYS for ref in told.fields.get(name, ())}
        if missing := above - self._names.keys():
            some = Run(until=run.until).of_some([number_of(ref) for ref in missing])
            self._names |= {told.ref: str(told.fields.get("name") or told.label) for told in some.keys.values()}

    def __call__(self, ref: str | None) -> str:
        return self._names.get(ref, ref) if ref else ""

    def all(self, refs: Collection[str]) -> str:
        return written(sorted(self(ref) for ref in refs))


def _service(told: Told, fields: Fields, names: Naming) -> str:
    name = names(fields.get("service"))
    return written([name], is_short_name) if name else ""


def _of(name: str) -> Callable[[Told, Fields, Naming], Any]:
    return lambda told, fields, names: fields.get(name)


def _named(name: str) -> Callable[[Told, Fields, Naming], Any]:
    return lambda told, fields, names: names(fields.get(name))


def _all(name: str) -> Callable[[Told, Fields, Naming], Any]:
    return lambda told, fields, names: names.all(fields.get(name) or ())


# The headers of services.exports.COLUMNS, in their order.
COLUMNS: Mapping[str, Callable[[Told, Fields, Naming], Any]] = {
    "Name": _of("name"),
    "Kind": _of("kind"),
    "Created by": _named("creator"),
    "Owner": _named("owner"),
    "Service": _service,
    "Vendor": _named("vendor"),
    "Purpose": _of("purpose"),
    "Creation date": _of("created_on"),
    "Last rotated": lambda told, fields, names: (
        "never" if fields.get("never_rotated") else fields.get("last_rotated_on")
    ),
    "Environment": _of("environment"),
    "Data classification": _of("classification"),
    "Access": _of("access"),
    "Shared": _of("is_shared"),
    "Algorithm": _of("algorithm"),
    "Size in bits": _of("size_bits"),
    "Where stored": _of("storage_location"),
    "Medium": lambda told, fields, names: dict(StorageMedium.choices).get(fields.get("storage_medium", ""), ""),
    "Exportable": _of("is_exportable"),
    "Generation method": _of("generation_method"),
    "Tenant": _named("tenant"),
    "Integration": _named("integration"),
    "Name of the secret": _of("secret_name"),
    "Used by": _all("consumers"),
    "Approved to use it": _all("approved_consumers"),
    "Wrapped by": _all("wrapped_by"),
    "Derived from": _all("derived_from"),
    "Runbook": _of("runbook_url"),
    "Notes": _of("notes"),
    "State": _of("state"),
    "Rotate by": _of("rotate_by"),
    "By the clause": _named("winning_clause"),
    "Accepted until": _of("accepted_until"),
    "Record": lambda told, fields, names: told.ref,
}


def key_as_of(pk: int, until: datetime) -> tuple[Told, Fields, dict[str, str]] | None:
    """Return one key at a moment, its fields, and what the clauses said then; None before its first event.

    Its events are found by the index. Queries: 3. Raises: ReplayError.
    """
    run = Run(until=until)
    fold = run.of_some([pk])
    if (told := fold.keys.get(pk)) is None:
        return None
    clauses = {ref: str(clause_of(one)) for ref, one in fold.others["clause"].items() if one.is_whole}
    return told, expected(told, is_cut=run.is_cut), clauses


def _text(fact: Any) -> str:  # noqa: ANN401 - as the log has it
    if fact is None:
        return ""
    return ("yes" if fact else "no") if isinstance(fact, bool) else str(fact)
