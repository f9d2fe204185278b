"""DEKs that stay where they are: brought under another version while others write, and whatever dies meanwhile.

1,000 rows on every run; under `make test-full` 50,000 while a writer adds to them.
"""

import base64
import os
import sys
import threading
import time
from hashlib import sha256

import pytest
from django.utils import timezone

from audit.services import Subject
from inventory.envelope import Blob, binding_digest, kek_digest, pack, unpack
from inventory.models import Key
from rotation.sources import rewrapping
from rotation.sources.errors import UnreachableError
from rotation.sources.forms import row_name
from rotation.sources.rewrapping import carry, left, next_range
from tests.inventory.world import events_of, seal
from tests.rotation.sources.elsewhere import WORKER, all_opened, ciphertexts, fill, make_kek, opened, rotate, source_of

FULL = "tests.full" in sys.modules
ROWS, ADDED = (50_000, 2_000) if FULL else (1_000, 60)
BATCH = 2_000 if FULL else 200
JOB = Subject(ref="rewrap:1")


@pytest.fixture
def kek(ring, db, as_role):
    with as_role("worker"):
        yield make_kek()


def through(source, target, *, size=BATCH, skip=()):
    """Go through all rows once, as a pass of a job does; return what came of each range."""
    found, after = [], ""
    while one := next_range(source, target, after=after, size=size, skip=skip):
        found.append(carried(source, target, one, most=size, skip=skip))
        after = one.last
    return found


def carried(source, target, one, *, most=BATCH, **how):
    return carry(
        source,
        target,
        job=JOB,
        first=one.first,
        last=one.last,
        most=most,
        actor=WORKER,
        now=timezone.now(),
        **how,
    )


def test_a_table_elsewhere_is_rewrapped_while_a_writer_adds_to_it(other, kek):
    deks = fill(other, kek, "1", range(ROWS))
    source, target = source_of(other, kek), rotate(kek)
    added = {}
    sealed = {ROWS + n: (dek := os.urandom(32), *ciphertexts(kek, "1", [dek])) for n in range(ADDED)}

    def write():
        """Add rows as a platform does that has not heard of the new version, between those that are there too."""
        with other.owner() as connection:
            for row, (dek, cell) in sealed.items():
                place = -row if row % 2 else row
                connection.execute(
                    "INSERT INTO public.data_keys (id, wrapped, kek_version) VALUES (%s, %s, '1')", [place, cell]
                )
                added[place] = dek
                time.sleep(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    passes = [through(source, target)]
    writer.join()
    while left(source, target):
        passes.append(through(source, target))
        assert len(passes) < 4
    total = sum(one.rewrapped for results in passes for one in results)
    assert total == ROWS + len(added) == ROWS + ADDED
    assert all(one.verified == one.rewrapped == one.bound for results in passes for one in results)
    assert not [one for results in passes for one in results if one.refused]
    assert all_opened(other, kek) == deks | added
    assert other.execute("SELECT kek_version, count(*) FROM data_keys GROUP BY 1") == [("2", ROWS + ADDED)]
    (row, binding) = other.execute("SELECT id, binding FROM data_keys WHERE id = 7")[0]
    assert bytes(binding) == binding_digest(deks[row], b"source:payments/7", 1)
    seal()
    events = events_of("source.batch_begun")
    assert sum(event.said.facts["count"] for event in events) == total
    assert {event.said.subjects[0].ref for event in events} == {"rewrap:1"}


def test_a_second_pass_finds_nothing_and_changes_nothing(other, kek):
    fill(other, kek, "1", range(50))
    source, target = source_of(other, kek), rotate(kek)
    through(source, target)
    before = other.execute("SELECT * FROM data_keys ORDER BY id")
    assert next_range(source, target, size=10) is None
    assert carried(source, target, rewrapping.Range("0", "49", 50)).rewrapped == 0
    assert other.execute("SELECT * FROM data_keys ORDER BY id") == before


@pytest.mark.parametrize(
    "point", ["before the intent", "after the intent", "after the crypto", "before the commit", "after the commit"]
)
def test_dying_anywhere_loses_nothing(other, kek, monkeypatch, point):
    """Whoever takes the range over finds what was left, and says what had been swapped already."""
    deks = fill(other, kek, "1", range(40))
    source, target = source_of(other, kek), rotate(kek)
    one = next_range(source, target, size=40)
    with monkeypatch.context() as patched:
        _die_at(patched, point)
        with pytest.raises(SystemExit):
            carried(source, target, one)
    swapped = 40 if point == "after the commit" else 0
    assert left(source, target) == 40 - swapped
    assert all_opened(other, kek) == deks
    seal()
    result = carried(source, target, one, is_again=True)
    assert (result.rewrapped, result.before, result.verified, result.bound) == (40 - swapped, swapped, 40, 40)
    assert result.digest != sha256().digest()
    assert left(source, target) == 0
    assert all_opened(other, kek) == deks
    assert all(binding for (binding,) in other.execute("SELECT binding FROM data_keys"))


def test_what_somebody_dead_has_swapped_is_counted_once(other, kek, monkeypatch):
    """Of a range that is under the target already, but for what was added to it since."""
    fill(other, kek, "1", range(0, 80, 2))
    source, target = source_of(other, kek), rotate(kek)
    through(source, target)
    fill(other, kek, "1", [1, 3, 5, 79])
    one = next_range(source, target, size=40)
    for point, left_over in (("before the commit", 4), ("after the commit", 0)):
        with monkeypatch.context() as patched:
            _die_at(patched, point)
            with pytest.raises(SystemExit):
                carried(source, target, one, batch=2, is_again=point == "after the commit")
        assert left(source, target) == left_over
        seal()
    fill(other, kek, "1", [7])
    result = carried(source, target, one, batch=2, is_again=True)
    assert (result.rewrapped, result.before, result.verified, result.bound) == (1, 4, 5, 5)


def _die_at(patched, point):
    def dying(real, *, first):
        def die(*arguments, **how):
            if not first:
                real(*arguments, **how)
            raise SystemExit(9)

        return die

    if "intent" in point:
        patched.setattr(rewrapping, "_tell_intent", dying(rewrapping._tell_intent, first="before" in point))
    elif "crypto" in point:
        patched.setattr(rewrapping, "_moved", dying(rewrapping._moved, first=False))
    elif "before" in point:  # the statement has run, and the connection dies with it
        patched.setattr(rewrapping, "_set", dying(rewrapping._set, first=True))
    else:
        patched.setattr(rewrapping, "_swap", dying(rewrapping._swap, first=False))


def test_a_connection_that_dies_before_its_commit_changes_nothing(other, kek):
    """The other server ends our session in the middle of the swap."""
    deks = fill(other, kek, "1", range(30))
    source, target = source_of(other, kek), rotate(kek)
    one = next_range(source, target, size=30)
    with other.owner() as blocker, blocker.transaction():
        blocker.execute("SELECT FROM public.data_keys WHERE id = 29 FOR UPDATE")
        killer = threading.Timer(0.5, _end_sessions, [other])
        killer.start()
        with pytest.raises(UnreachableError):
            carried(source, target, one)
        killer.join()
    assert left(source, target) == 30
    assert all_opened(other, kek) == deks
    assert carried(source, target, one, is_again=True).rewrapped == 30


def _end_sessions(other):
    other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", other.login)


def test_a_row_that_is_locked_there_is_tried_again_later(other, kek):
    fill(other, kek, "1", range(5))
    source, target = source_of(other, kek), rotate(kek)
    one = next_range(source, target, size=5)
    with other.owner() as blocker, blocker.transaction():
        blocker.execute("SELECT FROM public.data_keys WHERE id = 3 FOR UPDATE")
        with pytest.raises(UnreachableError, match="lock"):
            carried(source, target, one)
    assert left(source, target) == 5


def test_a_row_that_others_change_meanwhile_is_left_to_the_next_pass(other, kek, monkeypatch):
    deks = fill(other, kek, "1", range(10))
    source, target = source_of(other, kek), rotate(kek)
    real = rewrapping._swap

    def swap(*arguments):
        deks[3] = os.urandom(32)
        (cell,) = ciphertexts(kek, "1", [deks[3]])
        other.execute("UPDATE public.data_keys SET wrapped = %s WHERE id = 3", cell)
        other.execute("DELETE FROM public.data_keys WHERE id = 4")
        del deks[4]
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(rewrapping, "_swap", swap)
        (result,) = through(source, target)
    assert (result.rewrapped, result.missed) == (8, 2)
    (again,) = through(source, target)
    assert (again.rewrapped, left(source, target)) == (1, 0)
    assert all_opened(other, kek) == deks


def test_rows_that_are_not_what_belongs_there_stay_as_they_are(other, kek):
    """Once they are bound, what was swapped, altered or put under another version is refused; the others go on."""
    deks = fill(other, kek, "1", range(20))
    source = source_of(other, kek)
    through(source, rotate(kek))
    other.execute(
        "UPDATE public.data_keys a SET wrapped = b.wrapped FROM public.data_keys b"
        " WHERE (a.id, b.id) IN ((1, 2), (2, 1))"
    )
    other.execute("UPDATE public.data_keys SET wrapped = set_byte(wrapped, 5, get_byte(wrapped, 5) # 1) WHERE id = 3")
    other.execute("UPDATE public.data_keys SET kek_version = '1' WHERE id = 4")
    other.execute("UPDATE public.data_keys SET kek_version = '77' WHERE id = 5")
    other.execute("UPDATE public.data_keys SET wrapped = '' WHERE id = 6")
    before = other.execute("SELECT * FROM data_keys WHERE id BETWEEN 1 AND 6 ORDER BY id")
    target = rotate(kek)
    (result,) = through(source, target)
    assert set(result.refused) == {"1", "2", "3", "4", "5", "6"}
    assert {result.refused["1"], result.refused["2"]} == {"not_bound"}
    assert result.refused["5"] == "other_version"
    assert result.rewrapped == 14
    assert other.execute("SELECT * FROM data_keys WHERE id BETWEEN 1 AND 6 ORDER BY id") == before
    assert next_range(source, target, size=10, skip=list(result.refused)) is None
    assert left(source, target) == 6
    assert left(source, target, skip=list(result.refused)) == 0
    readable = other.execute("SELECT id, wrapped FROM data_keys WHERE kek_version = '3' ORDER BY id")
    assert opened(kek, "3", [bytes(cell) for _, cell in readable]) == [deks[row] for row, _ in readable]


def test_a_row_under_a_later_version_is_not_brought_back(other, kek):
    fill(other, kek, "1", [1])
    source, target = source_of(other, kek), rotate(kek)
    rotate(kek)
    fill(other, kek, "3", [2])
    through(source, target)
    assert other.execute("SELECT kek_version FROM data_keys ORDER BY id") == [("2",), ("3",)]


@pytest.mark.parametrize("form", ["base64", "envelope"])
def test_each_form_is_read_and_written_as_the_platform_has_it(other, kek, form):
    kind = "text" if form == "base64" else "bytea"
    other.execute(f"ALTER TABLE public.data_keys ALTER wrapped TYPE {kind} USING NULL")
    deks = fill(other, kek, "1", range(5), write=lambda sealed: _written(kek, form, "1", sealed))
    target = rotate(kek)
    (result,) = through(source_of(other, kek, form=form), target)
    assert result.rewrapped == 5
    cells = [cell for (cell,) in other.execute("SELECT wrapped FROM data_keys ORDER BY id")]
    sealed = [base64.b64decode(cell) if form == "base64" else unpack(bytes(cell)).ciphertext for cell in cells]
    assert opened(kek, "2", sealed) == list(deks.values())
    other.execute("UPDATE public.data_keys SET wrapped = 'K!' WHERE id = 2")
    (again,) = through(source_of(other, kek, form=form), rotate(kek))
    assert again.refused == {"2": "altered"}


def _written(kek, form, version, sealed):
    if form == "base64":
        return base64.b64encode(sealed).decode()
    return pack(Blob(algorithm=kek.algorithm, kek=kek_digest(kek.uri), version=version, ciphertext=sealed))


@pytest.mark.parametrize("kind", ["uuid", "text", "int"])
def test_rows_are_told_apart_by_ids_of_every_kind(other, kek, kind):
    deks = fill(other, kek, "1", range(12))
    using = {"uuid": "md5(id::text)::uuid", "text": "'Ä''\"' || id", "int": "id::int"}[kind]
    other.execute(f"ALTER TABLE public.data_keys ALTER id TYPE {kind} USING {using}")
    other.execute("ALTER TABLE public.data_keys ALTER kek_version TYPE int USING kek_version::int")
    source, target = source_of(other, kek), rotate(kek)
    assert sum(one.rewrapped for one in through(source, target, size=5)) == 12
    cells = other.execute("SELECT wrapped FROM data_keys WHERE kek_version = 2")
    assert set(opened(kek, "2", [bytes(cell) for (cell,) in cells])) == set(deks.values())


def test_without_a_column_for_it_a_dek_is_opened_once_more_and_bound_to_nothing(other, kek):
    other.execute("ALTER TABLE public.data_keys DROP COLUMN binding")
    fill(other, kek, "1", range(6))
    (result,) = through(source_of(other, kek, binding_column=""), rotate(kek))
    assert (result.rewrapped, result.verified, result.bound) == (6, 6, 0)


def test_nothing_here_holds_what_is_wrapped_there(other, kek):
    fill(other, kek, "1", range(3))
    through(source_of(other, kek), rotate(kek))
    assert not Key.objects.filter(kind="dek").exists()
    assert row_name(source_of(other, kek), "3") == b"source:payments/3"
