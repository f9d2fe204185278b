"""People by name, for the filter "who": the log knows references, names stand with the people as long as they exist."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q

from audit.explorer.asked import number_of
from audit.models import Event

MOST = 10  # people that are offered when several match


@dataclass(frozen=True)
class Person:
    """Somebody who can be chosen."""

    ref: str
    name: str
    account: str


def names_of(references: Iterable[str]) -> dict[str, str]:
    """Return the names of those people among the references who still have one. Queries: 1, none for no person."""
    numbers = {number_of(ref.removeprefix("user:")) for ref in references if ref.startswith("user:")} - {None}
    return {person.ref: str(person) for person in _people().filter(pk__in=numbers)} if numbers else {}


def called(words: str) -> list[Person]:
    """Return the people whose name, account or mail has these words in it, at most one more than MOST. Queries: 1."""
    model: Any = get_user_model()
    names = {model.USERNAME_FIELD, model.EMAIL_FIELD, "full_name"}
    condition = Q()
    for name in sorted(names):
        condition |= Q(**{f"{name}__icontains": words})
    found = _people().filter(condition).order_by(model.USERNAME_FIELD)[: MOST + 1]
    return [Person(each.ref, str(each), each.get_username()) for each in found]


def has_acted(reference: str) -> bool:
    """Whether the log has an event of this actor, be it a person, a part of the system or a stranger. Queries: 1."""
    return Event.objects.filter(actor_id=reference).exists() or Event.objects.filter(on_behalf_of=reference).exists()


def _people() -> Any:  # noqa: ANN401 - `access` owns the model, and the log must not import it
    return get_user_model()._default_manager
