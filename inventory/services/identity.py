"""By what a row of a file is known to be a key that the inventory has."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from django.db.models import F

from inventory.models import Key, KeyVersion, Owner
from inventory.services.brought import Brought
from inventory.services.digests import digests_of_public_key
from inventory.services.judged import Judged, Rejudged


def known_keys(brought: Brought, *, telling: Sequence[Owner] = (), lock: bool) -> Mapping[str, Key]:
    """Return the keys that a file speaks of, each under the name that the file gives it.

    A key of exactly that name is it, else the only one whose current version has the same material, unless another row
    of the file speaks of that one. Queries: 1, with material 2. With `lock` the keys are locked, and with them all keys
    of the owners in `telling`, which the import writes too; before them these owners, as whoever edits an owner does.
    """
    names = {read.facts.name for read in brought.rows}
    digests = {name: digests_of_public_key(one) for name, one in brought.digests.items()}
    numbers = _holders({digest for name, every in digests.items() if name in names for digest in every})
    keys = Key.objects.select_related("owner", "creator", "service", "vendor", "tenant", "integration").order_by("pk")
    wanted = keys.filter(name__in=names) | keys.filter(pk__in=[pk for pks in numbers.values() for pk in pks])
    if lock:
        _hold(telling)
        wanted = (wanted | keys.filter(owner__in=telling)).select_for_update(of=("self",), no_key=True)
    found_keys = list(wanted)
    known = {key.name: key for key in found_keys if key.name in names}
    by_number = {key.pk: key for key in found_keys if key.name not in names}
    shared = _shared(digests.values())
    for name, every in digests.items():
        holders = [pk for digest in every for pk in numbers.get(digest, [])]
        if name not in known and every not in shared and len(holders) == 1 and holders[0] in by_number:
            known[name] = by_number[holders[0]]
    return known


def _hold(owners: Sequence[Owner]) -> None:
    pks = [owner.pk for owner in owners]
    if pks:
        list(Owner.objects.filter(pk__in=pks).select_for_update(no_key=True).order_by("pk").values_list("pk"))


def rejudged(brought: Brought, known: Mapping[str, Key], going_in: Collection[int]) -> list[Rejudged]:
    """Return the current versions of known keys of which this file, with the same material, shows something else.

    `going_in` are the numbers of the keys whose rows neither are refused nor wait for somebody. Queries: 1, none
    without material.
    """
    by_key = {known[name].pk: name for name in brought.judged if name in known and known[name].pk in going_in}
    found = []
    for version in _current(by_key):
        name = by_key[version.key_id]
        if bytes(version.reuse_digest or b"") not in digests_of_public_key(brought.digests[name]):
            continue
        before = Judged.of(version)
        after = brought.judged[name].after(before)
        if after != before:
            version.key = known[name]
            after.keep_with(version)
            found.append(Rejudged(version=version, before=before))
    return found


def _current(pks: Collection[int]) -> Iterable[KeyVersion]:
    return KeyVersion.objects.filter(key__in=pks, number=F("key__current_number")).order_by("pk") if pks else ()


def _holders(digests: set[bytes]) -> dict[bytes, list[int]]:
    if not digests:
        return {}
    found: dict[bytes, list[int]] = {}
    versions = KeyVersion.objects.filter(reuse_digest__in=digests).select_related("key")
    for version in versions:
        if version.number == version.key.current_number:
            found.setdefault(bytes(version.reuse_digest or b""), []).append(version.key_id)
    return found


def _shared(digests: Iterable[tuple[bytes, ...]]) -> set[tuple[bytes, ...]]:
    return {every for every, times in Counter(digests).items() if times > 1}
