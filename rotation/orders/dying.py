"""Proof of death: whether a version that was ended opens anything, tried with its canary, or that nobody can tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from audit.actor import Actor
from inventory import custody
from inventory.custody import BackendError, Item, NoSuchKeyError, NotUsableError, Refusal, capabilities_of
from inventory.guarded.keks import Voted, note_death
from inventory.models import Kek, KekVersion
from rotation.orders.rotating import CANARY, canary_id

STILL_OPENS = "It still opens what it wrapped."
REFUSES = "The store refuses to unwrap with it"
NO_CANARY = "Cannot be shown: nothing was wrapped under it here to try it with."
_GONE = frozenset({"gone", "not_usable"})


@dataclass(frozen=True, kw_only=True)
class Death:
    """What was seen of the end of one version. `is_dead` is None where nobody can tell."""

    version: int
    is_dead: bool | None
    words: str


def try_canaries(kek: Kek, versions: Sequence[KekVersion], *, now: datetime) -> list[Death]:
    """Try what is dead, as far as the store can show it. Asks the store; outside any transaction. Queries: 1."""
    canaries = dict(KekVersion.objects.filter(pk__in=[one.pk for one in versions]).values_list("pk", "canary"))
    return [_tried(kek, one, bytes(canaries.get(one.pk) or b""), now) for one in versions]


def _tried(kek: Kek, version: KekVersion, canary: bytes, now: datetime) -> Death:
    how = capabilities_of(kek.uri).death
    if how is custody.Death.CANNOT_BE_SHOWN:
        words = (
            "Cannot be shown: this kind of store lets an old version open what it wrapped until the whole key is gone."
        )
        return Death(version=version.pk, is_dead=None, words=words)
    if not canary:
        return Death(version=version.pk, is_dead=None, words=NO_CANARY)
    try:
        opens = _opens(kek, version, canary)
    except BackendError as error:
        if error.transient:
            raise
        return Death(version=version.pk, is_dead=None, words=f"Cannot be shown: {error}"[:200])
    if opens:
        return Death(version=version.pk, is_dead=False, words=STILL_OPENS)
    raised = ": its smallest version was raised" if how is custody.Death.RAISED else ""
    return Death(version=version.pk, is_dead=True, words=f"{REFUSES}{raised}. Tried {now:%-d %B %Y at %H:%M} UTC.")


def _opens(kek: Kek, version: KekVersion, canary: bytes) -> bool:
    """Whether the canary comes open. A refusal for another reason than that the version is over shows nothing."""
    item = Item(dek_id=canary_id(kek.uri), number=CANARY, wrapped=canary)
    try:
        (seen,) = custody.check(kek.uri, version.store_id, [item], algorithm=kek.algorithm)
    except (NoSuchKeyError, NotUsableError):
        return False
    if isinstance(seen, Refusal):
        if seen.reason not in _GONE:
            raise BackendError(f"The store refuses the canary as {seen.reason}, which says nothing of the version.")
        return False
    return True


def write_deaths(kek: Kek, deaths: Sequence[Death], voted: Voted) -> None:
    """Write down what was seen, in the caller's transaction. Events: as note_death()."""
    for one in deaths:
        note_death(pk=kek.pk, version=one.version, death=one.words, is_dead=one.is_dead, **voted.how)


def show_death(*, version: KekVersion, actor: Actor, reason: str, now: datetime) -> Death:
    """Try once more whether a version still opens anything, and write down what was seen. For the worker.

    Asks the store; outside any transaction. Events: kek.version_shown_dead (failed where it still opens), or
    kek.version_seen where it cannot be shown. Raises: BackendError.
    """
    kek = Kek.objects.select_related("key").get(pk=version.kek_id)
    (death,) = try_canaries(kek, [version], now=now)
    with transaction.atomic():
        write_deaths(kek, [death], Voted(told={}, actor=replace(actor), reason=reason, now=now))
    return death
