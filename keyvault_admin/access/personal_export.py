"""Everything held about a person, as one JSON document: the tables of `personal_data`, then what the log says.

No secret and no digest of one: `personal_data` names every field that leaves. Of other people it holds references
("user:7"), never names.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q

from audit import selectors as log
from audit.selectors import ReadEvent
from inventory.models import Owner
from keyvault_admin.access.models import PersonSession, User
from keyvault_admin.access.personal_data import HOLDINGS, Holding

FORMAT = "keyvault-admin/person/v1"


def everything_about(person: User, *, now: datetime) -> Iterator[str]:
    """Yield the document piece by piece; at most a thousand events are in memory. Two queries a table."""
    head = {"format": FORMAT, "person": person.ref, "made_at": now}
    yield _json(head)[:-1] + ', "tables": {'
    facts = _facts_of(person)
    for place, holding in enumerate(one for one in HOLDINGS if not one.is_read_by_the_log):
        yield f"{',' if place else ''}\n{_json(holding.model)}: {_json(_rows(holding, person, facts))}"
    made, erased = log.identity_key_of(person.ref) or (None, None)
    yield f'}},\n"identity_key": {_json({"made_at": made, "erased_at": erased})},\n"events_done": ['
    yield from _listed(_done(event) for event in log.acts_of(person.ref))
    yield '],\n"events_about": ['
    yield from _listed(_about(event) for event in log.events_about(person.ref))
    yield "]}\n"


def _facts_of(person: User) -> Mapping[str, object]:
    owners = Owner.objects.filter(Q(user=person) | Q(mail=person.email))
    handles = list(owners.values_list("handle", flat=True))
    return {"pk": person.pk, "pks": [person.pk], "ref": person.ref, "mail": person.email, "handles": handles}


def _rows(holding: Holding, person: User, facts: Mapping[str, object]) -> list[dict[str, Any]]:
    model = apps.get_model(holding.model)
    is_theirs = reduce(or_, (Q(**{lookup: facts[fact]}) for lookup, fact in holding.matched.items()))
    rows = list(model._default_manager.filter(is_theirs).order_by("pk").values(*holding.shown))
    return _with_origins(rows, person) if model is PersonSession else rows


def _with_origins(rows: list[dict[str, Any]], person: User) -> list[dict[str, Any]]:
    """Open the address and the browser of each session."""
    origins = {session.pk: session.origin() for session in PersonSession.objects.filter(person=person)}
    unknown = ("", "")
    return [row | dict(zip(("address", "agent"), origins.get(row["id"], unknown), strict=True)) for row in rows]


def _done(event: ReadEvent) -> dict[str, Any]:
    """Return an event of theirs, with the identity that is sealed beside it."""
    said, identity = event.said, event.identity
    if said is None:
        return {"number": event.number}
    return {
        "number": event.number,
        "at": said.at,
        "action": said.action,
        "outcome": said.outcome,
        "roles": said.actor_role,
        "verified_by": said.verified_by,
        "path": said.path,
        "reason": said.reason,
        "subjects": [subject.ref for subject in said.subjects],
        "identity": identity
        and {"name": identity.name, "mail": identity.mail, "address": identity.address, "agent": identity.agent},
    }


def _about(event: ReadEvent) -> dict[str, Any]:
    """Return an event that they are a subject of; who did it is a reference."""
    said = event.said
    if said is None:
        return {"number": event.number}
    facts = {"number": event.number, "at": said.at, "action": said.action, "outcome": said.outcome}
    return {**facts, "by": said.actor_id, "reason": said.reason}


def _listed(found: Iterator[dict[str, Any]]) -> Iterator[str]:
    for place, one in enumerate(found):
        yield f"{',' if place else ''}\n{_json(one)}"


def _json(said: object) -> str:
    return json.dumps(said, cls=DjangoJSONEncoder, ensure_ascii=False)
