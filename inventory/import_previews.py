"""A plan as data, drawn by the worker that made it, for the page that shows it: counts, and first rows of each kind."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from inventory.import_forms import Column, columns_of
from inventory.models import Key, Owner, Service
from inventory.reading import ColumnsError, Question
from inventory.services import Draw, ImportOptions, Plan
from inventory.services.plan import Held
from inventory.wording import label_of, labels_of, planned, related_lines

SHOWN_ROWS = 100  # of each kind; the rest is counted


def plan_drawn(plan: Plan) -> Mapping[str, Any]:
    """Return what the preview says of a plan. Queries: those of planned()."""
    columns = columns_of(plan.brought.headings, plan.options.mapping)
    return {
        "plan": _counts(plan),
        "new": [{"row": row, **_new(key), "related": _related(plan, key)} for row, key in plan.new[:SHOWN_ROWS]],
        "changed": _changes(plan.changed),
        "held": _changes(plan.held),
        "refused": [
            {"row": one.row, "where": labels_of(one.field), "problem": one.problem, "mend": one.mend}
            for one in plan.to_mend[:SHOWN_ROWS]
        ],
        "warnings": [
            {"row": one.row, "name": one.name, "sentence": one.sentence} for one in plan.brought.warnings[:SHOWN_ROWS]
        ],
        "columns": _columns(columns),
        "suggested": [{"header": one.heading.header, "label": label_of(one.chosen)} for one in columns if one.because],
        "question": next(map(_question, plan.brought.questions), None),
        "offered_owners": _offered(plan.owners, plan.owners_left_out),
        "offered_services": _offered(plan.services, plan.services_left_out),
    }


def columns_drawn(error: ColumnsError, options: ImportOptions) -> Mapping[str, Any]:
    """Return what the page says of columns that are not clear."""
    return {"problem": error.problem, "columns": _columns(columns_of(error.headings, options.mapping))}


DRAW = Draw(plan=plan_drawn, columns=columns_drawn)


def _counts(plan: Plan) -> dict[str, Any]:
    brought = plan.brought
    return {
        "digest": plan.digest,
        "summary": plan.summary,
        "new": len(plan.new),
        "changed": len(plan.changed),
        "held": len(plan.held),
        "to_be_held": len(plan.to_be_held),
        "unchanged": plan.unchanged,
        "refused": plan.refused_rows,
        "to_mend": len(plan.to_mend),
        "rows_to_mend": plan.rows_to_mend,
        "waiting_rows": plan.waiting_rows,
        "findings": plan.findings,
        "warnings": len(brought.warnings),
        "owners": len(plan.owners) + len(plan.owners_left_out),
        "services": len(plan.services) + len(plan.services_left_out),
        "owners_with_mail": [_named(owner) for owner in plan.owners_with_mail[:SHOWN_ROWS]],
        "source": brought.source,
        "place": brought.place,
    }


def _new(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "kind": key.get_kind_display(),
        "service": str(key.service or ""),
        "environment": key.get_environment_display() if key.environment else "",
        "owner": str(key.owner or ""),
        "created_on": _day(key.created_on),
        "last_rotated_on": _day(key.last_rotated_on),
        "never_rotated": key.never_rotated,
        "rotate_by": key.rotate_by.isoformat() if key.rotate_by else None,
    }


def _related(plan: Plan, key: Key) -> list[dict[str, Any]]:
    return [line._asdict() for line in related_lines(plan.related.changes.get(key.name))]


def _day(day: date | None) -> str:
    return f"{day:%-d %b %Y}" if day else ""


def _changes(changes: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "row": change.row,
            "pk": change.key.pk,
            "name": change.key.name,
            "known_as": change.known_as,
            "request": change.request.pk if isinstance(change, Held) and change.request else None,
            "lines": [line._asdict() for line in lines],
        }
        for change, lines in planned(changes[:SHOWN_ROWS])
    ]


def _columns(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [
        {
            "key": one.key,
            "header": one.heading.header,
            "samples": list(one.heading.samples),
            "chosen": one.chosen,
            "because": one.because,
        }
        for one in columns
    ]


def _question(question: Question) -> dict[str, Any]:
    return {
        "text": question.text,
        "examples": list(question.examples),
        "suggested": question.suggested,
        "because": question.because,
    }


def _offered(new: Sequence[Owner | Service], left_out: Sequence[Owner | Service]) -> list[dict[str, Any]]:
    """Return the new records that can be left out, each with whether it is registered, in the order of their names."""
    both = [_named(one) | {"is_taken": True} for one in new] + [_named(one) | {"is_taken": False} for one in left_out]
    return sorted(both, key=lambda one: (one["is_taken"], one["name"]))[:SHOWN_ROWS]


def _named(one: Owner | Service) -> dict[str, Any]:
    return {"name": str(one), "mail": one.mail if isinstance(one, Owner) and one.mail != one.handle else ""}
