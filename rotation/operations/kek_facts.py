"""What people are shown of a KEK before they decide about it: its versions, what needs each, what its store can do."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.urls import reverse

from audit.canonical import JSON, timestamp
from inventory.census import needs, tenants_under, versions_of
from inventory.custody import Capabilities, Death, Scope, capabilities_of
from inventory.errors import NoSuchKekError, NoSuchVersionError, StillNeededError
from inventory.models import Kek, KekVersion, Key
from inventory.terms import StoreStatus
from rotation.errors import WrongParametersError
from rotation.models import RewrapSource
from rotation.operations.affected import chosen, facts_of, lines_of
from rotation.operations.base import Line, Payload

Said = Mapping[str, Any]
DEATHS = {
    Death.REFUSES: "Whether an old version is dead can be shown: its store refuses to unwrap with it.",
    Death.RAISED: "Whether an old version is dead can be shown: its store raises the smallest version that it opens.",
    Death.CANNOT_BE_SHOWN: "That an old version is dead cannot be shown: this kind of store opens what it wrapped for "
    "as long as the key is there.",
}
REACHES = {
    Scope.VERSION: "That version alone is reached.",
    Scope.UP_TO: "Its store knows no smaller step: every earlier version is reached too.",
    Scope.KEY: "Its store knows no smaller step: all versions are reached, and nothing new is wrapped under this KEK.",
}


def kek_in(parameters: Mapping[str, JSON], *, hold: bool) -> tuple[Key, Kek]:
    """Return the KEK that the parameters name as `key`; with `hold` its key is locked, clauses first.

    Queries: 2, with `hold` 3. Raises: NoSuchKeyError, NoSuchKekError, WrongParametersError.
    """
    if "keys" in parameters:
        raise WrongParametersError
    (key,) = chosen(parameters, hold=hold)
    kek = Kek.objects.filter(pk=key.pk).first()
    if kek is None:
        raise NoSuchKekError(key.name)
    kek.key = key
    return key, kek


def version_in(parameters: Mapping[str, JSON], kek: Kek) -> KekVersion:
    """Return the version that the parameters name as `number`. Queries: 1. Raises: NoSuchVersionError."""
    number = parameters.get("number")
    rows = versions_of(kek.pk).exclude(status=StoreStatus.GONE)
    found = rows.filter(version__number=number).first() if type(number) is int else None
    if found is None:
        raise NoSuchVersionError(kek.key.name)
    return found


def check_nothing_needs(kek: Kek, versions: Sequence[KekVersion]) -> None:
    """Refuse to end versions that something still needs, as far as was counted. Queries: 4. Raises: StillNeededError.

    Sources elsewhere by their last count; they are counted afresh once the versions are closed.
    """
    found = needs([one.pk for one in versions])
    said = [f"version {one.version.number}: {words}" for one in versions for words in found[one.pk].said]
    for source in RewrapSource.objects.filter(kek=kek, retired_at__isnull=True).order_by("name"):
        under = sum(source.counts.get(one.store_id, 0) for one in versions)
        said += [f"the source {source.name}: {under:,} DEKs when last counted"] if under else []
    if said:
        raise StillNeededError(kek.key.name, said)


def facts(key: Key, kek: Kek, acted_on: Sequence[KekVersion], now: datetime) -> dict[str, JSON]:
    """Return what is shown of a KEK, its census among it. Queries: 10, and those of affected.facts_of()."""
    versions = list(versions_of(kek.pk))
    found = needs([one.pk for one in versions])
    able = capabilities_of(kek.uri)
    sources = RewrapSource.objects.filter(kek=kek, retired_at__isnull=True).order_by("name")
    return facts_of([key], lambda _: None, now) | {
        "kek": {
            "uri": kek.uri,
            "algorithm": kek.algorithm,
            "primary": next((one.version.number for one in versions if one.pk == kek.primary_id), None),
        },
        "versions": [
            {
                "version": one.version.number,
                "id": one.store_id,
                "status": str(one.status),
                "is_closed": one.closed_at is not None,
                "deks": found[one.pk].deks,
                "hand_outs": found[one.pk].hand_outs,
                "holds": list(found[one.pk].holds[:20]),
            }
            for one in versions
        ],
        "acted_on": [one.version.number for one in acted_on],
        "tenants": tenants_under([one.pk for one in versions]),
        "sources": [
            {
                "name": source.name,
                "deks": sum(source.counts.values()),
                "counted_at": timestamp(source.counted_at) if source.counted_at else None,
            }
            for source in sources
        ],
        "death": str(able.death),
        "rewraps_there": able.rewraps,
    }


# Words, from the payload alone


def name_of(payload: Payload) -> str:
    return payload.targets[0].label


def acted_on(payload: Payload) -> str:
    """Name the versions: "version 2", "versions 1, 2 and 3"."""
    numbers = [str(one) for one in _list(payload.facts["acted_on"])]
    if len(numbers) == 1:
        return f"version {numbers[0]}"
    return f"versions {', '.join(numbers[:-1])} and {numbers[-1]}"


def census_lines(payload: Payload) -> list[Line]:
    """Return a line for each version: what needs it, as it was counted when this was asked."""
    lines = []
    for one in _list(payload.facts["versions"]):
        parts = [f"{one['deks']:,} DEKs", *([f"{one['hand_outs']:,} copies handed out"] if one["hand_outs"] else [])]
        parts += [f"held by {hold}" for hold in one["holds"]]
        closed = ", closed to wraps" if one["is_closed"] else ""
        text = f"{StoreStatus(one['status']).label}{closed}; " + "; ".join(parts)
        lines.append(Line(label=f"Version {one['version']} ({one['id']})", text=text))
    for one in _list(payload.facts["sources"]):
        when = f"counted {one['counted_at'][:16].replace('T', ' ')} UTC" if one["counted_at"] else "never counted"
        lines.append(Line(label=f"Kept elsewhere: {one['name']}", text=f"{one['deks']:,} DEKs, {when}"))
    return lines


def lines(payload: Payload, *more: Line) -> list[Line]:
    """Return all lines of a decision about a KEK. Queries: at most 1, for owners."""
    kek: Said = _map(payload.facts["kek"])
    where = Line(label="Kept in", text=str(kek["uri"]), url=_url(payload))
    return [
        *lines_of(payload),
        where,
        Line(label="Wraps with", text=str(kek["algorithm"])),
        *more,
        *census_lines(payload),
    ]


def under_all(payload: Payload) -> int:
    return sum(int(one["deks"]) for one in _list(payload.facts["versions"]))


def death_words(payload: Payload) -> str:
    return DEATHS[Death(str(payload.facts["death"]))]


def waiting_words(able: Capabilities) -> str:
    fewest, most = able.waiting_days
    return f"{fewest} to {most} days"


def _url(payload: Payload) -> str:
    pk = payload.targets[0].ref.partition(":")[2]
    return reverse("admin:inventory_key_change", args=[pk])


def _list(said: Any) -> list[Any]:  # noqa: ANN401 - JSON of the payload
    return list(said)


def _map(said: Any) -> Said:  # noqa: ANN401 - JSON of the payload
    return dict(said)
