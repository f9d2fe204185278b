"""What somebody may ask for on the page of a key, which belongs to the package below."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django import template
from django.urls import reverse

from inventory.models import Key
from inventory.selectors import DESTROYED_STATES
from inventory.states import State, targets
from inventory.terms import KeyKind
from rotation.operations import operation_of

register = template.Library()


class Ask(NamedTuple):
    """One question, as a link."""

    words: str
    url: str


_QUESTIONS = (
    ("key.reactivate", "re-activate it", "reactivate"),
    ("key.revoke", "revoke it", "revoke"),
    ("key.dates", "change its dates", "dates"),
    ("kek.link", "link it to its key store", "kek_link"),
    ("key.destroy", "destroy it", "destroy"),
)


@register.simple_tag(takes_context=True)
def questions_about(context: Any, key: Key, waiting: Iterable[Any] = ()) -> list[Ask]:  # noqa: ANN401 - Django's own
    """Return what this person may ask of the key as it is now, and has nobody asked yet. Queries: 1 for a KEK."""
    asked = {request.operation for request in waiting}
    user = context["request"].user
    roles = set(user.role_names)
    owns = key.owner is not None and key.owner.is_active and key.owner.user_id == user.pk and bool(roles)
    found = []
    for code, words, page in _QUESTIONS:
        operation = operation_of(code)
        may = bool(roles & set(operation.askers)) or (operation.owner_may_ask and owns)
        if may and code not in asked and _is_possible(code, key):
            found.append(Ask(words, reverse(f"admin:rotation_request_ask_{page}", args=[key.pk])))
    return found


def _is_possible(code: str, key: Key) -> bool:
    state = State(key.state)
    if code == "kek.link":
        return key.kind == KeyKind.KEK and state == State.ACTIVE and not hasattr(key, "kek")
    return {
        "key.reactivate": state == State.SUSPENDED,
        "key.revoke": State.DEACTIVATED in targets(state),
        "key.dates": state not in DESTROYED_STATES,
        "key.destroy": State.DESTROYED in targets(state),
    }[code]
