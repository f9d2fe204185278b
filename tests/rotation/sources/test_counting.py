"""What the interlock hears of DEKs that are kept elsewhere."""

import base64
from datetime import timedelta

import pytest
from django.utils import timezone

from inventory.envelope import Blob, kek_digest, pack
from rotation import sources
from rotation.models import RewrapSource
from rotation.sources import UNKNOWN, SourceError, count_now, refresh, still_needed
from tests.approving import carried_through, voters
from tests.inventory.world import events_of, seal
from tests.rotation.sources.elsewhere import WORKER, ciphertexts, fill, make_kek, registered, rotate, source_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def kek(ring, db, as_role):
    with as_role("worker"):
        return make_kek()


@pytest.fixture
def people(db):
    return voters()


@pytest.fixture
def source(other, kek, people):
    assert registered(other, kek, people).state == "executed"
    return RewrapSource.objects.get()


def later():
    """Return a time after the votes by which the source was registered."""
    return timezone.now() + timedelta(minutes=5)


def asked(kek, now=None):
    return count_now(kek, actor=WORKER, now=now or later())


def test_count_now_counts_by_version_and_keeps_it(other, kek, source, as_role):
    with as_role("worker"):
        fill(other, kek, "1", range(1, 4))
        rotate(kek)
        fill(other, kek, "2", range(10, 12))
        now = later()
        found = asked(kek, now)
        seal()
    assert found == {source.ref: {"1": 3, "2": 2}}
    source.refresh_from_db()
    assert (source.counts, source.counted_at, source.trouble) == ({"1": 3, "2": 2}, now, "")
    assert [event.said.subjects[0].after for event in events_of("source.counted")] == [
        {"counts": {"1": 3, "2": 2}, "trouble": ""}
    ]
    assert still_needed(found, ["1"]) == 3
    assert still_needed(found, ["1", "2"]) == 5
    assert still_needed(found, ["3"]) == 0


def test_a_row_of_an_unknown_version_may_need_every_version(other, kek, source, as_role):
    with as_role("worker"):
        fill(other, kek, "1", [1])
        other.execute("UPDATE public.data_keys SET kek_version = 'latest'")
        assert asked(kek) == {source.ref: {UNKNOWN: 1}}
        assert still_needed(asked(kek), ["1"]) == 1


@pytest.mark.parametrize(
    "stop",
    [
        lambda other: other.execute("DROP TABLE public.data_keys"),
        lambda other: other.execute(f"REVOKE SELECT (kek_version) ON public.data_keys FROM {other.login}"),
        lambda other: other.execute("ALTER TABLE public.data_keys ENABLE ROW LEVEL SECURITY"),
        lambda other: other.execute(f"ALTER ROLE {other.login} NOLOGIN"),
    ],
)
def test_what_cannot_be_asked_is_a_refusal_and_keeps_what_was_known(other, kek, source, as_role, stop):
    with as_role("worker"):
        fill(other, kek, "1", [1, 2])
        asked(kek)
        stop(other)
        with pytest.raises(SourceError):
            asked(kek)
        assert refresh(actor=WORKER, now=later()) == (0, 1)
        seal()
    source.refresh_from_db()
    assert source.counts == {"1": 2}
    assert source.trouble
    assert [event.said.outcome for event in events_of("source.counted")] == ["done", "failed"]


def test_a_host_taken_out_of_the_settings_is_a_refusal(other, kek, source, as_role, settings):
    settings.SOURCE_HOSTS = []
    with as_role("worker"), pytest.raises(SourceError, match="does not name"):
        asked(kek)


def test_refresh_is_quiet_where_nothing_changed(other, kek, source, as_role):
    with as_role("worker"):
        fill(other, kek, "1", [1])
        for _ in range(3):
            assert refresh(actor=WORKER, now=later()) == (1, 0)
        seal()
    assert len(events_of("source.counted")) == 1


def test_a_retired_source_is_not_asked(other, kek, source, people, as_role):
    asker, *by = people
    carried_through("source.retire", {"source": source.pk}, asker=asker, by=by)
    with as_role("worker"):
        assert asked(kek) == {}


@pytest.mark.parametrize("form", ["text", "envelope"])
def test_a_cell_that_names_another_version_than_its_row_counts_under_both(other, kek, as_role, form):
    """Its column may lie: the version that the cell names has to live as long."""
    kind = "text" if form == "text" else "bytea"
    other.execute(f"ALTER TABLE public.data_keys ALTER wrapped TYPE {kind} USING NULL")
    with as_role("worker"):
        rotate(kek)
        (sealed,) = ciphertexts(kek, "1", [bytes(32)])
        blob = Blob(algorithm=kek.algorithm, kek=kek_digest(kek.uri), version="1", ciphertext=sealed)
        cell = pack(blob) if form == "envelope" else f"vault:v1:{base64.b64encode(sealed).decode()}"
        other.execute("INSERT INTO public.data_keys (id, wrapped, kek_version) VALUES (1, %s, '2')", cell)
        assert sources.counting.counted(source_of(other, kek, form=form)) == {"1": 1, "2": 1}


def test_a_count_of_whole_numbers(other, kek, as_role):
    other.execute("ALTER TABLE public.data_keys ALTER kek_version TYPE int USING 1")
    with as_role("worker"):
        (sealed,) = ciphertexts(kek, "1", [bytes(32)])
        other.execute("INSERT INTO public.data_keys (id, wrapped, kek_version) VALUES (1, %s, 1)", sealed)
        assert sources.counting.counted(source_of(other, kek)) == {"1": 1}
