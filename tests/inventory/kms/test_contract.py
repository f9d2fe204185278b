"""What every key store must do, asked of each kind on its real engine (rigs.py). Nothing here knows which one it is."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from inventory.envelope import wipe
from inventory.kms import SCHEMES, backend_class
from inventory.kms.base import Scope, ToOpen, ToWrap, VersionStatus, WrapAlgorithm
from inventory.kms.errors import BackendError, KeyExistsError, NoSuchKeyError, NotCapableError, Refused
from tests.inventory.kms.conftest import RIGS, Kek, deks, make_kek
from tests.inventory.kms.rigs import Rig

OTHER = b"another context of 32 bytes, ok?"
SAMPLES = 40  # places of a ciphertext where a bit is flipped
REASONS = {"altered", "gone", "not_usable", "denied", "refused"}


def flipped(blob: bytes, place: int) -> bytes:
    return blob[:place] + bytes([blob[place] ^ (1 << place % 8)]) + blob[place + 1 :]


def places(blob: bytes) -> list[int]:
    """Every byte of a short ciphertext; of a long one the first, the last, and some between."""
    step = max(1, len(blob) // SAMPLES)
    return sorted({*range(0, len(blob), step), len(blob) - 1})


# Wrapping and opening


def test_a_batch_comes_back_in_its_order(kek: Kek) -> None:
    drawn = deks(min(20, kek.can.most_items))
    blobs = kek.wrap(drawn)
    assert len(set(blobs)) == len(blobs)
    assert all(bytes(dek) not in blob for dek, blob in zip(drawn, blobs, strict=True))
    assert kek.open(blobs) == drawn
    assert kek.open(blobs[::-1]) == drawn[::-1]


def test_nothing_asked_is_nothing_answered(kek: Kek) -> None:
    assert kek.wrap([]) == []
    assert kek.open([]) == []


def test_what_comes_back_is_a_copy_that_can_be_wiped(kek: Kek) -> None:
    (dek,) = deks(1)
    (blob,) = kek.wrap([dek])
    first, second = kek.open([blob, blob][: kek.can.most_items]) if kek.can.most_items > 1 else kek.open([blob]) * 2
    assert type(first) is bytearray
    if kek.can.most_items > 1:
        wipe(first)
        assert second == dek
    assert kek.open([blob]) == [dek]


def test_every_client_of_a_store_opens_what_another_has_wrapped(kek: Kek) -> None:
    drawn = deks(2)
    other = kek.rig.open()
    items = [ToOpen(ciphertext=blob, context=b"c" * 32) for blob in kek.wrap(drawn)]
    assert other.unwrap(kek.name, kek.new, items) == drawn
    other.close()


def test_a_blob_opens_under_its_own_version_alone(kek: Kek) -> None:
    drawn = deks(2)
    before, after = kek.wrap(drawn, version=kek.old), kek.wrap(drawn)
    assert kek.open(before, version=kek.old) == drawn
    assert kek.open(after, version=kek.new) == drawn
    assert kek.opens_nothing(before, kek.new)
    assert kek.opens_nothing(after, kek.old)


def test_a_version_that_never_was_is_refused(kek: Kek) -> None:
    drawn = deks(1)
    blobs = kek.wrap(drawn)
    unknown = "99" if len(kek.new) < 8 else "0" * len(kek.new)
    assert kek.opens_nothing(blobs, unknown)
    with pytest.raises(BackendError):
        assert kek.backend.wrap(kek.name, unknown, [ToWrap(dek=drawn[0], context=b"c" * 32)]) is None


def test_a_kek_that_never_was_is_refused(kek: Kek) -> None:
    name = kek.rig.new_name()
    with pytest.raises(NoSuchKeyError):
        kek.backend.describe(name)
    items = [ToOpen(ciphertext=blob, context=b"c" * 32) for blob in kek.wrap(deks(1))]
    with pytest.raises(BackendError):
        kek.backend.unwrap(name, kek.new, items)


def test_another_kek_opens_nothing(own_kek: Kek) -> None:
    other = make_kek(own_kek.rig, own_kek.algorithm)
    blobs = own_kek.wrap(deks(3))
    assert other.opens_nothing(blobs, other.new)
    assert other.opens_nothing(blobs, other.old)
    other.backend.close()


def test_each_flipped_bit_is_refused_and_sinks_no_other(kek: Kek) -> None:
    (dek,) = deks(1)
    (blob,) = kek.wrap([dek])
    bent = [flipped(blob, place) for place in places(blob)]
    size = min(kek.can.most_items, 20)
    for start in range(0, len(bent), max(size - 1, 1)):
        batch = bent[start : start + max(size - 1, 1)]
        opened = kek.open([*batch, blob] if size > 1 else batch)
        if size > 1:
            assert opened.pop() == dek
        assert [type(one) for one in opened] == [Refused] * len(batch)
        assert {one.reason for one in opened} <= REASONS


@pytest.mark.parametrize(
    "bend",
    [lambda blob: blob[:-1], lambda blob: blob + b"\0", lambda blob: b"\0", lambda _blob: os.urandom(40)],
    ids=["cut", "longer", "one byte", "drawn"],
)
def test_one_bad_item_is_refused_in_its_place(kek: Kek, bend: object) -> None:
    if kek.can.most_items < 3:
        pytest.skip("one item a call")
    drawn = deks(2)
    first, last = kek.wrap(drawn)
    opened = kek.open([first, bend(first), last])
    assert isinstance(opened[1], Refused)
    assert [opened[0], opened[2]] == drawn


def test_a_blob_opens_with_its_own_context_alone(kek: Kek) -> None:
    drawn = deks(2)
    blobs = kek.wrap(drawn)
    if kek.can.binds_context:
        assert [type(one) for one in kek.open(blobs, context=OTHER)] == [Refused] * 2
    else:  # there the binding digest does it, in inventory.custody
        assert kek.open(blobs, context=OTHER) == drawn


def test_the_store_rewraps_on_its_side(kek: Kek) -> None:
    drawn = deks(3)
    items = [ToOpen(ciphertext=blob, context=b"c" * 32) for blob in kek.wrap(drawn, version=kek.old)]
    if not kek.can.rewraps:
        with pytest.raises(NotCapableError):
            kek.backend.rewrap(kek.name, kek.old, kek.new, items)
        return
    bad = ToOpen(ciphertext=flipped(items[1].ciphertext, len(items[1].ciphertext) // 2), context=b"c" * 32)
    batch = [items[0], bad, items[2]][: kek.can.most_items]
    moved = kek.backend.rewrap(kek.name, kek.old, kek.new, batch)
    assert kek.open([moved[0]]) == drawn[:1]
    if len(batch) == 3:
        assert isinstance(moved[1], Refused)
        assert kek.open([moved[2]]) == drawn[2:]
    if kek.can.binds_context:
        stranger = ToOpen(ciphertext=items[0].ciphertext, context=OTHER)
        assert isinstance(kek.backend.rewrap(kek.name, kek.old, kek.new, [stranger])[0], Refused)


# Describing, creating, rotating


def test_describe_lists_versions_oldest_first(kek: Kek) -> None:
    found = kek.backend.describe(kek.name)
    assert found.algorithm == kek.algorithm
    assert found.newest == kek.new
    assert not found.is_exportable
    ids = [version.id for version in found.versions]
    assert ids.index(kek.old) < ids.index(kek.new)
    assert ids[-1] == kek.new
    assert {found.version(one).status for one in (kek.old, kek.new)} == {VersionStatus.ENABLED}
    made = [version.created_at for version in found.versions if version.created_at]
    assert made == sorted(made)
    assert all(one.tzinfo is not None and one <= datetime.now(UTC) + timedelta(minutes=1) for one in made)


def test_a_kek_is_created_once(own_kek: Kek) -> None:
    if not own_kek.can.creates:
        with pytest.raises(NotCapableError):
            own_kek.backend.create(own_kek.rig.new_name(), own_kek.algorithm)
        return
    before = own_kek.backend.describe(own_kek.name)
    with pytest.raises(KeyExistsError):
        own_kek.backend.create(own_kek.name, own_kek.algorithm)
    assert own_kek.backend.describe(own_kek.name) == before
    fresh = own_kek.rig.new_name()
    made = own_kek.backend.create(fresh, own_kek.algorithm)
    assert made == own_kek.backend.describe(fresh)
    assert [version.id for version in made.versions] == [made.newest]


def test_an_algorithm_that_the_store_does_not_have_is_refused(own_kek: Kek) -> None:
    other = next(one for one in WrapAlgorithm if one not in own_kek.can.algorithms)
    fresh = own_kek.rig.new_name()
    with pytest.raises(NotCapableError):
        own_kek.backend.create(fresh, other)
    with pytest.raises(NoSuchKeyError):
        own_kek.backend.describe(fresh)


def test_rotating_adds_a_version_and_the_old_ones_still_open(own_kek: Kek) -> None:
    drawn = deks(2)
    before = own_kek.wrap(drawn)
    if own_kek.can.rotates:
        own_kek.backend.rotate(own_kek.name)
    else:
        with pytest.raises(NotCapableError):
            own_kek.backend.rotate(own_kek.name)
        own_kek.rig.turn(own_kek.backend, own_kek.name)
    found = own_kek.backend.describe(own_kek.name)
    assert found.newest not in {own_kek.old, own_kek.new}
    assert found.versions[-1].id == found.newest
    assert own_kek.open(before) == drawn
    assert own_kek.open(own_kek.wrap(drawn, version=found.newest), version=found.newest) == drawn


# Disabling, destroying, recovering: as far as the capabilities say


def dead_with(scope: Scope, kek: Kek) -> dict[str, bool]:
    """Return which versions are dead when that is done to the old one."""
    return {kek.old: True, kek.new: scope is Scope.KEY}


def test_disabled_versions_open_nothing_until_enabled(own_kek: Kek) -> None:
    backend, name, scope = own_kek.backend, own_kek.name, own_kek.can.disables
    if scope is None:
        with pytest.raises(NotCapableError):
            backend.disable(name, own_kek.old)
        return
    drawn = deks(2)
    blobs = {version: own_kek.wrap(drawn, version=version) for version in (own_kek.old, own_kek.new)}
    for _twice in range(2):
        backend.disable(name, own_kek.old)
    for version, is_dead in dead_with(scope, own_kek).items():
        assert own_kek.opens_nothing(blobs[version], version) is is_dead
        shown = backend.describe(name).version(version)
        assert (shown is not None and shown.status is VersionStatus.ENABLED) is not is_dead
    with pytest.raises(BackendError):
        backend.wrap(name, own_kek.old, [ToWrap(dek=drawn[0], context=b"c" * 32)])
    if not own_kek.can.enables:
        with pytest.raises(NotCapableError):
            backend.enable(name, own_kek.old)
        return
    for _twice in range(2):
        backend.enable(name, own_kek.old)
    assert own_kek.open(blobs[own_kek.old], version=own_kek.old) == drawn
    assert backend.describe(name).version(own_kek.old).status is VersionStatus.ENABLED


def test_every_client_sees_at_once_that_a_version_is_disabled(own_kek: Kek) -> None:
    if own_kek.can.disables is None:
        pytest.skip("this kind of store cannot disable")
    blobs = own_kek.wrap(deks(1), version=own_kek.old)
    other = own_kek.rig.open()
    other.disable(own_kek.name, own_kek.old)
    other.close()
    assert own_kek.opens_nothing(blobs, own_kek.old)


def test_what_is_scheduled_waits_and_can_be_recovered(own_kek: Kek) -> None:
    backend, name, can = own_kek.backend, own_kek.name, own_kek.can
    if can.schedules is None:
        with pytest.raises(NotCapableError):
            backend.schedule_destruction(name, own_kek.old, days=30)
        return
    drawn, days = deks(2), can.waiting_days[0]
    blobs = own_kek.wrap(drawn, version=own_kek.old)
    told = backend.schedule_destruction(name, own_kek.old, days=days)
    again = backend.schedule_destruction(name, own_kek.old, days=days)
    for gone_at in (told, again):
        assert gone_at is None or abs(gone_at - datetime.now(UTC) - timedelta(days=days)) < timedelta(days=1)
    assert own_kek.opens_nothing(blobs, own_kek.old)
    assert backend.describe(name).version(own_kek.old).status is VersionStatus.SCHEDULED
    if not can.recovers:
        with pytest.raises(NotCapableError):
            backend.recover(name, own_kek.old)
        return
    for _twice in range(2):
        backend.recover(name, own_kek.old)
    status = backend.describe(name).version(own_kek.old).status
    assert status in {VersionStatus.ENABLED, VersionStatus.DISABLED}
    if status is VersionStatus.DISABLED:
        backend.enable(name, own_kek.old)
    assert own_kek.open(blobs, version=own_kek.old) == drawn


def test_waiting_times_outside_the_limits_are_refused(own_kek: Kek) -> None:
    if own_kek.can.schedules is None:
        pytest.skip("this kind of store cannot schedule a destruction")
    fewest, most = own_kek.can.waiting_days
    for days in (fewest - 1, most + 1):
        with pytest.raises(BackendError):
            own_kek.backend.schedule_destruction(own_kek.name, own_kek.old, days=days)
    assert own_kek.backend.describe(own_kek.name).version(own_kek.old).status is VersionStatus.ENABLED


def test_what_is_purged_opens_nothing_ever_again(own_kek: Kek) -> None:
    backend, name, can = own_kek.backend, own_kek.name, own_kek.can
    if can.purges is None:
        with pytest.raises(NotCapableError):
            backend.purge(name, own_kek.old)
        return
    drawn = deks(1)
    blobs = {version: own_kek.wrap(drawn, version=version) for version in (own_kek.old, own_kek.new)}
    if can.schedules is not None:
        backend.schedule_destruction(name, own_kek.old, days=can.waiting_days[0])
    for _twice in range(2):
        backend.purge(name, own_kek.old)
    for version, is_dead in dead_with(can.purges, own_kek).items():
        assert own_kek.opens_nothing(blobs[version], version) is is_dead
    if can.purges is Scope.KEY:
        return
    shown = backend.describe(name).version(own_kek.old)
    assert shown is None or shown.status is VersionStatus.GONE
    if can.rotates:
        backend.rotate(name)
        assert backend.describe(name).newest not in {own_kek.old, own_kek.new}


# What is said of a store


def test_no_repr_holds_material(kek: Kek) -> None:
    drawn = deks(2)
    blobs = kek.wrap(drawn)
    said = "".join(
        map(
            repr,
            (
                kek.backend, kek.backend.address, kek.backend.describe(kek.name), ToWrap(dek=drawn[0], context=OTHER),
                ToOpen(ciphertext=blobs[0], context=OTHER), kek.open([blobs[0][:-1]]),
            ),
        )
    )  # fmt: skip
    for secret in (*drawn, *blobs):
        assert bytes(secret).hex() not in said
        assert repr(bytes(secret)) not in said


@pytest.mark.parametrize("kind", RIGS, ids=lambda rig: rig.name)
def test_capabilities_are_consistent(kind: type[Rig]) -> None:
    backend = backend_class(kind.name.partition("-")[0])
    can = backend.capabilities
    assert backend.scheme in SCHEMES
    assert set(kind.algorithms) <= set(can.algorithms)
    assert can.most_items >= 1
    assert not can.enables or can.disables is not None
    assert not can.recovers or can.schedules is not None
    fewest, most = can.waiting_days
    assert (0 < fewest <= most) if can.schedules is not None else (fewest, most) == (0, 0)


def test_a_closed_store_can_be_closed_again(rig: Rig) -> None:
    backend = rig.open()
    backend.close()
    backend.close()
