"""The keys that a request is about and whom it affects: looked up when somebody asks, told from the payload alone."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Count
from django.urls import reverse

from audit.canonical import JSON, parse_timestamp, timestamp
from inventory.guarded.transitions import wrapped_by
from inventory.models import Key, KeyConsumer, KeyParent, Owner
from inventory.selectors import DESTROYED_STATES, share_clauses
from inventory.states import CAN_BE_OVERDUE, State
from inventory.terms import Relation
from rotation.errors import NoSuchKeyError
from rotation.operations.base import Line, Payload, Target

MOST_KEYS = 100  # in one request
LISTED = 20  # names of services, or of keys beneath, for each key; the others are counted
Facts = Mapping[str, Any]


def chosen(parameters: Mapping[str, JSON], *, hold: bool) -> list[Key]:
    """Return the keys that the parameters name as `key` (one) or `keys`, by number; with `hold` locked, clauses first.

    Queries: 1, with `hold` 2. Raises: NoSuchKeyError.
    """
    named = parameters["keys"] if "keys" in parameters else [parameters.get("key")]
    pks = {pk for pk in named if type(pk) is int} if isinstance(named, list | tuple) else set()
    if not 1 <= len(pks) <= MOST_KEYS or len(pks) != len(list(named)):  # type: ignore[arg-type]
        raise NoSuchKeyError(MOST_KEYS)
    rows = Key.objects.select_related("service", "tenant").filter(pk__in=pks).order_by("pk")
    if hold:
        share_clauses()
        rows = rows.select_for_update(of=("self",), no_key=True)
    keys = list(rows)
    if len(keys) != len(pks):
        raise NoSuchKeyError(MOST_KEYS)
    return keys


def targets_of(keys: Sequence[Key]) -> list[Target]:
    return [Target(ref=key.ref, label=key.name, revision=key.revision) for key in keys]


def facts_of(keys: Sequence[Key], becomes: Callable[[Key], State | None], now: datetime) -> dict[str, JSON]:
    """Return what people are shown of the keys, and of each what it `becomes`; None where its state stays.

    Queries: 3, and 1 for each key that wraps others. Owners stand there by reference: names of people are no part of
    what never changes.
    """
    pks = [key.pk for key in keys]
    consumers: defaultdict[int, list[str]] = defaultdict(list)
    used = KeyConsumer.objects.filter(key__in=pks).order_by("service__name")
    for pk, name in used.values_list("key_id", "service__name"):
        consumers[pk].append(name)
    wraps = KeyParent.objects.filter(parent__in=pks, relation=Relation.WRAPPED_BY).order_by()
    living = wraps.exclude(child__state__in=DESTROYED_STATES).values_list("parent_id")
    beneath = dict(living.annotate(count=Count("pk")))
    late = set(Key.objects.overdue(now).filter(pk__in=pks).values_list("pk", flat=True))
    return {
        "keys": [
            _of(key, becomes(key), consumers[key.pk], beneath.get(key.pk, 0), is_late=key.pk in late) for key in keys
        ],
        "services": len({name for names in consumers.values() for name in names}),
    }


def _of(key: Key, becomes: State | None, consumers: list[str], beneath: int, *, is_late: bool) -> dict[str, JSON]:
    after = becomes or State(key.state)
    return {
        "ref": key.ref,
        "name": key.name,
        "kind": key.get_kind_display(),
        "version": key.current_number,
        "state": key.state,
        "becomes": after.value,
        "environment": key.environment,
        "owner": f"owner:{key.owner_id}" if key.owner_id else None,
        "service": key.service.name if key.service else None,
        "tenant": key.tenant.name if key.tenant else None,
        "consumers": consumers[:LISTED],
        "consumer_count": len(consumers),
        "beneath": list(wrapped_by(key.pk).values_list("name", flat=True)[:LISTED]) if beneath else [],
        "beneath_count": beneath,
        "rotate_by": timestamp(key.rotate_by) if key.rotate_by else None,
        "is_late": is_late,
        "stays_late": is_late and after in CAN_BE_OVERDUE,
    }


# Words


def keys_in(payload: Payload) -> list[Facts]:
    """Return the facts of the keys, as facts_of() wrote them."""
    said: Any = payload.facts["keys"]
    return list(said)


def title(verb: str, payload: Payload) -> str:
    """Say what is done to what: "Revoke crm-sync/partner-sftp", "Revoke 12 keys"."""
    keys = keys_in(payload)
    return f"{verb} {keys[0]['name']}" if len(keys) == 1 else f"{verb} {len(keys)} keys"


def named(key: Facts) -> str:
    """Name a key in a sentence: "The SSH key crm-sync/partner-sftp, version 4,"."""
    kind = str(key["kind"])
    kind = kind if kind[:2].isupper() else kind[:1].lower() + kind[1:]
    return f"The {kind} {key['name']}, version {key['version']},"


def becoming(payload: Payload, why: str = "") -> list[str]:
    """Say what becomes of the keys: one sentence for each state that some of them come to."""
    keys = keys_in(payload)
    label = State(keys[0]["becomes"]).label
    if len(keys) == 1:
        return [f"{named(keys[0])} becomes {label}{why}."]
    return [f"{len(keys)} keys become {label}{why}."]


def whom(payload: Payload, without: str = "do without") -> list[str]:
    """Say which services use the keys, and which keys they wrap."""
    keys = keys_in(payload)
    if len(keys) > 1:
        return _whom_many(payload, keys)
    (key,) = keys
    return [_users(key, without), *([_wrapped(key)] if key["beneath_count"] else [])]


def _users(key: Facts, without: str) -> str:
    count = int(key["consumer_count"])
    if not count:
        at = f" besides {key['service']}, which it belongs to" if key["service"] else ""
        return f"No service is named that uses it{at}."
    must = f"1 service uses it and must {without}" if count == 1 else f"{count:,} services use it and must {without}"
    return f"{must}: {_listed(key['consumers'], count)}."


def _wrapped(key: Facts) -> str:
    count = int(key["beneath_count"])
    said = "1 key is wrapped by it" if count == 1 else f"{count:,} keys are wrapped by it"
    return f"{said}, and stay{'s' if count == 1 else ''} so until wrapped by another: {_listed(key['beneath'], count)}."


def _whom_many(payload: Payload, keys: Sequence[Facts]) -> list[str]:
    services, beneath = int(str(payload.facts["services"])), sum(int(key["beneath_count"]) for key in keys)
    said = [f"Services that use any of them: {services:,}."] if services else ["No service is named that uses them."]
    return [*said, *([f"Keys wrapped by them, which stay so until wrapped by others: {beneath:,}."] if beneath else [])]


def lateness(payload: Payload) -> list[str]:
    """Say which of the keys are late now and count as late no more, or stay late, or become so."""
    keys = keys_in(payload)
    ending = sum(key["is_late"] and not key["stays_late"] for key in keys)
    staying = sum(key["is_late"] and key["stays_late"] for key in keys)
    if len(keys) == 1:
        said = "It is late, and counts as late no more." if ending else ""
        said = said or ("It is late, and stays so until it is rotated or destroyed." if staying else "")
        return [said] if said else []
    late = [f"Late now, and counted as late no more: {ending}."] if ending else []
    return [*late, *([f"Late, and staying so: {staying}."] if staying else [])]


def lines_of(payload: Payload) -> list[Line]:
    """Return the facts of one key a line each, of many keys a line for each key. Queries: at most 1, for owners."""
    keys = keys_in(payload)
    if len(keys) > 1:
        return [_line(key) for key in keys]
    (key,) = keys
    owners = _owner_names(keys)
    lines = [
        Line(label="State", text=_course(key)),
        Line(label="Owner", text=owners.get(key["owner"], "nobody: Security answers for it")),
        Line(label="Service", text=key["service"] or "none is recorded"),
        Line(label="Environment", text=key["environment"] or "not recorded"),
        Line(label="Used by", text=_listed(key["consumers"], int(key["consumer_count"])) or "no service is named"),
    ]
    if key["beneath_count"]:
        lines.append(Line(label="Wraps", text=_listed(key["beneath"], int(key["beneath_count"]))))
    if key["tenant"]:
        lines.append(Line(label="Tenant", text=str(key["tenant"])))
    if key["rotate_by"]:
        lines.append(Line(label="To be rotated by", text=f"{parse_timestamp(str(key['rotate_by'])):%-d %B %Y}"))
    return lines


def _line(key: Facts) -> Line:
    users = _listed(key["consumers"], int(key["consumer_count"]))
    said = [_course(key), f"used by {users}" if users else "", str(key["environment"])]
    return Line(label=str(key["name"]), text=" · ".join(word for word in said if word), url=_url(key))


def _course(key: Facts) -> str:
    """Say which state a key has and which it comes to. No before and after: neither is the good one."""
    before, after = State(key["state"]).label, State(key["becomes"]).label
    return before if before == after else f"{before}, becomes {after}"


def _listed(names: Sequence[str], count: int) -> str:
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return ", ".join(names) + more


def _url(key: Facts) -> str:
    return reverse("admin:inventory_key_change", args=[str(key["ref"]).partition(":")[2]])


def _owner_names(keys: Sequence[Facts]) -> dict[str, str]:
    """Return owners by reference. Only where a reference stands: an owner whose name was erased is their number."""
    refs = {str(key["owner"]) for key in keys if key["owner"]}
    pks = [int(ref.partition(":")[2]) for ref in refs]
    found = {owner.ref: str(owner) for owner in Owner.objects.filter(pk__in=pks)} if pks else {}
    return {ref: found.get(ref, ref) for ref in refs}
