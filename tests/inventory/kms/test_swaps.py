"""ENV-02, ENV-03 through the real door: DEKs swapped between rows, bent blobs, changed columns, in every kind of store.

Each is refused, leaves an event of its own and one mail to Security, and gives away nothing of a DEK.
"""

import os
import sys
from contextlib import contextmanager

import pytest

from audit.actions import Action
from inventory.custody import Item, Refusal, check, forget_stores, rewrap, stores
from inventory.envelope import Blob, kek_digest, pack, unpack
from inventory.models import DekVersion, Kek, KekVersion, KeyVersion, Wrapping
from inventory.services import deks
from inventory.services.deks.making import add_wrappings
from rotation.models import Digest
from rotation.refusals import open_and_tell
from tests.approving import as_worker
from tests.conftest import _become, make_person
from tests.inventory.dek_world import make_scope
from tests.inventory.kms.conftest import RIGS
from tests.inventory.world import ACTOR, NOW, events_of, make_key, seal

HERE = ("local", "openbao")  # on every run: one that moves DEKs here, one that does so itself
KINDS = [
    (rig, algorithm)
    for rig in RIGS
    for algorithm in rig.algorithms
    if "tests.full" in sys.modules or (rig.name in HERE and algorithm == rig.algorithms[0])
    if not any(size in algorithm for size in ("3072", "4096"))  # the same code as 2048
]


class Rows:
    """A KEK of one version in a store of the contract suite, with records of it and of DEKs under it."""

    def __init__(self, rig, algorithm):
        self.rig, self.store, self.algorithm, self.name = rig, rig.open(), str(algorithm), rig.new_name()
        rig.make(self.store, self.name, algorithm)
        self.uri = f"{self.store.scheme}:{self.store.address.name}/{self.name}"
        self.use()
        key = make_key(name=f"kek {self.name}", kind="kek")
        with as_worker():
            self.kek = Kek.objects.create(key=key, uri=self.uri, algorithm=self.algorithm)
            self.old = self._version(1)
            self.kek.primary = self.old
            self.kek.save(update_fields=["primary"])

    def turn(self):
        """Give the KEK another version, which takes nothing yet: DEKs are made before."""
        self.rig.turn(self.store, self.name)
        with as_worker():
            self.new = self._version(2)

    def use(self):
        """Let custody speak to the store through the client of the contract suite."""
        stores._OPEN[os.getpid(), self.store.address.name] = self.store

    def _version(self, number):
        generation, _ = KeyVersion.objects.get_or_create(key=self.kek.key, number=number)
        newest = self.store.describe(self.name).newest
        return KekVersion.objects.create(version=generation, kek=self.kek, store_id=newest, status_at=NOW)

    def dek(self, **scope):
        with as_worker():
            drawn = deks.draw_dek(kek=self.kek.pk, now=NOW)
            facts = deks.dek_facts(now=NOW, **scope)
            key = deks.create_dek(drawn=drawn, facts=facts, actor=ACTOR, reason="test", now=NOW)
        return DekVersion.objects.get(key=key)

    def next_of(self, version):
        """Give a DEK another version, past what asks for votes: only the wrapping matters here."""
        with as_worker():
            drawn = deks.draw_next(dek=version.key_id, now=NOW)
            generation = KeyVersion.objects.create(key=version.key, number=2)
            made = DekVersion.objects.create(version=generation, key=version.key, number=2, binding=drawn.binding)
            add_wrappings([(self.old.pk, made.pk, drawn.wrapped)])
        return made

    def item(self, version, under=None, **changes):
        row = self.row(version, under)
        item = Item(dek_id=version.dek_id, number=version.number, wrapped=bytes(row), binding=bytes(version.binding))
        return item._replace(**changes)

    def row(self, version, under=None):
        with as_worker():
            rows = Wrapping.objects.filter(dek_version=version, kek_version=under or self.old)
            return rows.values_list("wrapped", flat=True).get()

    def also_under_new(self, version):
        (moved,) = rewrap(self.uri, self.algorithm, self.old.store_id, self.new.store_id, [self.item(version)])
        with as_worker():
            add_wrappings([(self.new.pk, version.pk, moved.wrapped)])

    @contextmanager
    def swapped(self, one, other):
        """Exchange the bytes of two rows, as the owner of the database can; a row is (DEK version, KEK version)."""
        before = [bytes(self.row(*row)) for row in (one, other)]
        self.write(zip((one, other), reversed(before), strict=True))
        yield
        self.write(zip((one, other), before, strict=True))

    def write(self, rows):
        with _become("migrator"):
            for (version, under), wrapped in rows:
                Wrapping.objects.filter(dek_version=version, kek_version=under).update(wrapped=wrapped)

    def open(self, under=None):
        with as_worker():
            version = KekVersion.objects.select_related("kek").get(pk=(under or self.old).pk)
            return open_and_tell(version=version, where="test", at_once=3, actor=ACTOR, now=NOW)

    def renamed(self, wrapped, under):
        """Rewrite what a blob says of itself so that it fits a row."""
        blob = unpack(wrapped)
        fits = {"algorithm": self.algorithm, "kek": kek_digest(self.uri), "version": under.store_id}
        return pack(Blob(**fits, ciphertext=blob.ciphertext))


@pytest.fixture(params=KINDS, ids=lambda param: f"{param[0].name}-{param[1]}")
def kind(request, started):
    return started(request.param[0]), request.param[1]


@pytest.fixture
def rows(db, kind):
    forget_stores()
    made = Rows(*kind)
    yield made
    made.store.close()
    stores._OPEN.clear()


def test_swapped_deks_are_refused_told_of_and_stay_where_they_are(rows, kind):
    make_person("sam", "Security")
    one = rows.dek(**make_scope("acme", "crm"))
    same_tenant, other_tenant = rows.dek(**make_scope("acme", "erp")), rows.dek(**make_scope("zeta", "crm"))
    secret, later = rows.dek(secret_name="smtp"), rows.next_of(one)
    rows.turn()
    rows.also_under_new(secret)
    assert (rows.open().opened, rows.open(rows.new).opened) == (5, 1)
    old, new = rows.old, rows.new
    swaps = {
        "row": ((one, old), (same_tenant, old)),
        "tenant": ((one, old), (other_tenant, old)),
        "kind of scope": ((one, old), (secret, old)),
        "version of the DEK": ((one, old), (later, old)),
        "version of the KEK": ((secret, old), (secret, new)),
    }
    for name, (first, second) in swaps.items():
        with rows.swapped(first, second):
            seen = rows.open()
            expected = 1 if "KEK" in name else 2
            assert len(seen.refused) == expected, name
            assert refused_by_rewrap(rows, first), name
    another = Rows(*kind)
    foreign = another.dek(secret_name="foreign")
    another.store.close()
    rows.use()
    with rows.swapped((one, old), (foreign, another.old)):
        assert [one.reason for one in rows.open().refused] == ["other_version"]
    seal()
    events = events_of(Action.DEK_OPENED)
    assert (len(events), {event.said.outcome for event in events}) == (len(swaps) + 1, {"refused"})
    assert {str(one.key.ref), str(same_tenant.key.ref)} == {one.ref for one in events[0].said.subjects}
    assert Digest.objects.filter(subject__startswith="Wrapped DEKs were refused").count() == 1
    assert rows.open().refused == []


def refused_by_rewrap(rows, row):
    version, under = row
    to = rows.new if under == rows.old else rows.old
    (said,) = rewrap(rows.uri, rows.algorithm, under.store_id, to.store_id, [rows.item(version, under)])
    return isinstance(said, Refusal)


def test_a_blob_that_claims_to_fit_is_refused_all_the_same(rows):
    """The head of a blob is no secret: whoever moves one can rewrite it."""
    one, other = rows.dek(secret_name="one"), rows.dek(secret_name="other")
    rows.turn()
    rows.also_under_new(one)
    under_new = rows.renamed(bytes(rows.row(one, rows.new)), rows.old)
    asked = [rows.item(one, wrapped=under_new), rows.item(one, wrapped=bytes(rows.row(other))), rows.item(other)]
    seen = check(rows.uri, rows.old.store_id, asked, algorithm=rows.algorithm)
    assert [type(said) for said in seen] == [Refusal, Refusal, bytes]


def test_every_bent_byte_is_refused_and_the_others_pass(rows):
    one, other = rows.dek(secret_name="one"), rows.dek(secret_name="other")
    rows.turn()
    item, whole = rows.item(one), bytes(rows.row(one))
    places = range(0, len(whole), max(1, len(whole) // (60 if rows.store.scheme == "local" else 15)))
    bent = [item._replace(wrapped=whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]) for at in places]
    cut = [item._replace(wrapped=whole[:size]) for size in (0, 1, 12, len(whole) - 1)] + [
        item._replace(wrapped=whole + b"\0")
    ]
    seen = check(rows.uri, rows.old.store_id, [*bent, rows.item(other), *cut])
    good = [place for place, said in enumerate(seen) if not isinstance(said, Refusal)]
    assert good == [len(bent)]
    old, new = rows.old.store_id, rows.new.store_id
    moved = rewrap(rows.uri, rows.algorithm, old, new, [*bent[::7], rows.item(other), *cut], verify_percent=1)
    assert [place for place, said in enumerate(moved) if not isinstance(said, Refusal)] == [len(bent[::7])]


def test_what_the_columns_say_is_bound_too(rows):
    one = rows.dek(secret_name="one")
    rows.turn()
    item, old = rows.item(one), rows.old.store_id
    wrong = {
        "number": item._replace(number=2),
        "owner of the row": item._replace(dek_id=b"key:1"),
        "binding": item._replace(binding=bytes(32)),
    }
    if rows.store.capabilities.binds_context:
        wrong["context"] = item._replace(context=bytes(32), binding=None)
    for name, asked in wrong.items():
        (said,) = check(rows.uri, old, [asked], algorithm=rows.algorithm)
        assert isinstance(said, Refusal), name
    (said,) = check(rows.uri, old, [item], algorithm="RSA-4096-OAEP-256")
    assert said == Refusal("other_version")
    (said,) = check(rows.uri, rows.new.store_id, [item], algorithm=rows.algorithm)
    assert said == Refusal("other_version")
    assert check(rows.uri, old, [item]) == [item.binding]


def test_a_first_opening_binds_and_a_move_is_looked_at(rows):
    """A DEK without a digest is opened as it came, whatever share of a move is looked at."""
    one, other = rows.item(rows.dek(secret_name="one")), rows.item(rows.dek(secret_name="other"))
    rows.turn()
    old, new = rows.old.store_id, rows.new.store_id
    first, second = rewrap(rows.uri, rows.algorithm, old, new, [one._replace(binding=None), other], verify_percent=1)
    assert (first.binding, first.is_verified, second.binding) == (one.binding, True, other.binding)
    moved = [one._replace(wrapped=first.wrapped), other._replace(wrapped=second.wrapped)]
    assert check(rows.uri, new, moved) == [one.binding, other.binding]
    assert first.wrapped.hex() not in repr((first, one))
