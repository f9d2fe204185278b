"""Registering and changing vendors."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.models import Vendor
from inventory.services.keys import require, require_revision

FACTS = ("name", "notes")


@transaction.atomic
def register_vendor(*, name: str, notes: str = "", actor: Actor, now: datetime) -> Vendor:
    """Register a vendor. Event: vendor.registered."""
    vendor = Vendor(name=name, notes=notes)
    vendor.full_clean()
    vendor.save()
    subject = Subject(ref=vendor.ref, label=vendor.name, after=_snapshot(vendor))
    record(Action.VENDOR_REGISTERED, actor=actor, now=now, subjects=[subject])
    return vendor


@transaction.atomic
def edit_vendor(
    *, pk: int, changes: Mapping[str, Any], expected_revision: int, actor: Actor, reason: str, now: datetime
) -> Vendor:
    """Change what is said of a vendor that nobody changed since `expected_revision`.

    Locks it. Event: vendor.edited; none when nothing changed. Raises: StaleError.
    """
    require(reason)
    vendor = Vendor.objects.select_for_update().get(pk=pk)
    require_revision(vendor, expected_revision)
    before = _snapshot(vendor)
    for name in FACTS:
        setattr(vendor, name, changes.get(name, getattr(vendor, name)))
    after = _snapshot(vendor)
    if after == before:
        return vendor
    vendor.revision += 1
    vendor.full_clean()
    vendor.save(update_fields=[*FACTS, "revision"])
    names = [name for name in FACTS if before[name] != after[name]]
    subject = Subject(
        ref=vendor.ref,
        label=vendor.name,
        before={name: before[name] for name in names},
        after={name: after[name] for name in names},
    )
    record(Action.VENDOR_EDITED, actor=actor, now=now, reason=reason, subjects=[subject])
    return vendor


def _snapshot(vendor: Vendor) -> dict[str, JSON]:
    return {"name": vendor.name, "notes": vendor.notes}
