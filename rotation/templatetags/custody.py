"""What the page of a key, which belongs to the package below, says of KEKs and DEKs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template

from inventory.chips import Chip
from inventory.models import Kek, Key
from inventory.services import deks
from inventory.terms import KeyKind
from rotation.custody_pages.acts import askable
from rotation.custody_pages.dek_admin import health_chips
from rotation.custody_selectors.deks import DekFacts, dek_versions_of
from rotation.custody_selectors.keks import kek_of

register = template.Library()


@dataclass(frozen=True)
class DekLine:
    """A version of a DEK, and what one may do with it."""

    facts: DekFacts
    chips: Sequence[Chip]
    may_confirm: bool  # that nothing is encrypted under it any more


@dataclass(frozen=True)
class DekSection:
    lines: Sequence[DekLine]
    may_rotate: bool
    may_confirm_hand_out: bool


@register.simple_tag
def kek_behind(key: Key) -> Kek | None:
    """Return where a KEK lives, if the key is one. Queries: 1, for a KEK alone."""
    return kek_of(key) if key.kind == KeyKind.KEK else None


@register.simple_tag(takes_context=True)
def dek_section(context: Any, key: Key) -> DekSection | None:  # noqa: ANN401 - Django's own
    """Return what is said of a DEK that is kept here. Queries: 3, for a DEK alone."""
    versions = dek_versions_of(key) if key.kind == KeyKind.DEK else []
    if not versions:
        return None
    user = context["request"].user
    theirs = askable(user.role_names)
    owns = key.owner is not None and key.owner.is_active and key.owner.user_id == user.pk and bool(user.role_names)
    return DekSection(
        lines=[
            DekLine(
                facts=one,
                chips=health_chips(one),
                may_confirm=(owns or deks.CLEAR in theirs)
                and one.row.number != key.current_number
                and one.row.cleared_at is None,
            )
            for one in versions
        ],
        may_rotate=(owns or "dek.rotate" in theirs) and one_is_current(versions, key),
        may_confirm_hand_out=user.has_perm("inventory.hand_out_dek"),
    )


def one_is_current(versions: Sequence[DekFacts], key: Key) -> bool:
    """Whether the current version is kept here, and not cleared."""
    return any(one.row.number == key.current_number and one.row.cleared_at is None for one in versions)
