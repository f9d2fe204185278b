"""A company's spreadsheet goes into the inventory: what is new, changed, unchanged and refused."""

import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from django.db import connection, transaction

from audit.errors import AuditError
from audit.models import Event, EventSubject
from inventory import services
from inventory.errors import ImportRunningError, PlanChangedError, StaleError
from inventory.models import Key, KeyParent, KeyVersion, Owner, Service
from inventory.reading import TableError
from inventory.states import State
from inventory.terms import Relation
from tests.inventory.test_records import relate
from tests.inventory.test_services import at_once, kinds
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, key_in, last_number, make_key, make_owner, seal

SAMPLE = Path(__file__).parent.parent / "data" / "notion-inventory.csv"
db = pytest.mark.django_db


def file_of(*rows, header="Name,Type,Creator,Owner,Service,Created,Last rotated,Environment,Access,Notes"):
    """Return a CSV file; a row is what its columns hold, blank where it says nothing."""
    names = header.split(",")
    lines = [",".join(row.get(name, "") for name in names) for row in rows]
    return "\n".join([header, *lines]).encode()


def row(name="a", **said):
    return {"Name": name, "Type": "API token"} | {key.replace("_", " "): text for key, text in said.items()}


def bring(content, *, now=NOW, actor=ACTOR, **how):
    return services.apply_import(content=content, file_name="test.csv", actor=actor, reason="test", now=now, **how)


def plan(content, *, now=NOW):
    return services.plan_import(content=content, now=now)


def everything():
    return [list(model.objects.order_by("pk").values()) for model in (Key, KeyVersion, Owner, Service)]


# The sample


@db
def test_the_sample_goes_in_and_the_same_file_twice_changes_nothing():
    first = bring(SAMPLE.read_bytes())
    assert first.summary == "240 new, 0 changed, 1 unchanged, 0 refused"
    assert Key.objects.filter(state=State.ACTIVE).count() == Key.objects.count() == 240
    assert KeyVersion.objects.filter(state=State.ACTIVE).count() == 240
    assert (Owner.objects.count(), Service.objects.count()) == (15, 15)
    before = everything()
    seal()
    number = last_number()
    assert bring(SAMPLE.read_bytes()).summary == "0 new, 0 changed, 241 unchanged, 0 refused"
    assert everything() == before
    seal()
    assert actions_since(number) == ["inventory.imported"]


@db
def test_an_import_leaves_exactly_its_events():
    number = last_number()
    bring(SAMPLE.read_bytes())
    seal()
    assert actions_since(number) == ["owner.registered", "service.registered", "key.imported", "inventory.imported"]
    (event,) = events_of("key.imported")
    assert len(event.said.subjects) == 240
    assert {subject.ref for subject in event.said.subjects} == {
        f"key:{pk}" for pk in Key.objects.values_list("pk", flat=True)
    }
    (event,) = events_of("inventory.imported")
    facts = dict(event.said.facts)
    assert len(facts.pop("sha256")) == 64
    assert facts == {"file": "test.csv", "new": 240, "changed": 0, "unchanged": 1, "refused": 0}
    (event,) = events_of("owner.registered")
    for owner in Owner.objects.all():
        assert owner.handle not in event.raw.decode()


@db
def test_planning_writes_nothing_and_says_what_applying_does():
    planned = plan(SAMPLE.read_bytes())
    assert everything() == [[], [], [], []]
    assert (len(planned.owners), len(planned.services)) == (15, 15)
    assert planned.summary == bring(SAMPLE.read_bytes()).summary
    assert planned.findings > 0


@db
def test_the_file_gives_no_state_whatever_its_columns_are_called():
    """STM-01, the door of the import: a key that exists keeps its state, a new one is active."""
    keys = {state: key_in(state, name=state.value) for state in State}
    content = "\n".join(
        [
            "Name,Type,State,Status,Notes",
            *(f"{name},API token,{to},{to},to {to}" for name in [*State, "new"] for to in ["destroyed"]),
        ]
    )
    done = bring(content.encode())
    assert done.summary == "1 new, 7 changed, 0 unchanged, 0 refused"
    assert set(done.ignored) == {"State", "Status"}
    assert {name: Key.objects.get(pk=key.pk).state for name, key in keys.items()} == {state: state for state in State}
    assert Key.objects.get(name="new").state == State.ACTIVE


# People


def names():
    return {(owner.handle, owner.mail) for owner in Owner.objects.all()}


@db
def test_at_handle_handle_and_the_only_address_are_one_owner():
    bring(
        file_of(
            row("a", Owner="@ann"), row("b", Owner="ann"), row("c", Owner="Ann@example.org"), row("d", Creator="ANN")
        )
    )
    assert names() == {("ann", "ann@example.org")}
    assert Owner.objects.get().keys.count() == 3


@db
def test_an_address_that_comes_later_goes_to_the_owner_who_had_none():
    bring(file_of(row("a", Owner="@ann")))
    seal()
    number = last_number()
    Key.objects.update(next_notice_at=None)
    assert bring(file_of(row("b", Owner="ann@example.org", Created="2026-01-01"))).summary.startswith(
        "1 new, 0 changed"
    )
    assert names() == {("ann", "ann@example.org")}
    seal()
    assert actions_since(number) == ["owner.edited", "key.imported", "inventory.imported"]
    (event,) = events_of("owner.edited")
    assert "example.org" not in event.raw.decode()
    assert Key.objects.get(name="a").owner == Key.objects.get(name="b").owner


@db
def test_keys_of_an_owner_whose_address_comes_later_are_told_again():
    bring(file_of(row("a", Owner="@ann", Created="2026-01-01")))
    Key.objects.update(next_notice_at=None)
    bring(file_of(row("b", Owner="ann@example.org")))
    assert Key.objects.get(name="a").next_notice_at == datetime(2026, 12, 2, tzinfo=UTC)


@db
def test_a_handle_that_two_addresses_share_is_nobody_s_guess():
    content = file_of(row("a", Owner="ann"), row("b", Owner="ann@one.example"), row("c", Owner="ann@two.example"))
    bring(content)
    assert names() == {
        ("ann", ""),
        ("ann@one.example", "ann@one.example"),
        ("ann@two.example", "ann@two.example"),
    }
    assert Key.objects.get(name="a").owner.mail == ""
    before = everything()
    assert bring(content).unchanged == 3
    assert everything() == before


@db
def test_two_namesakes_in_the_file_leave_the_bare_handle_free():
    bring(file_of(row("b", Owner="ann@one.example"), row("c", Owner="ann@two.example")))
    bring(file_of(row("a", Owner="ann")))
    assert Key.objects.get(name="a").owner.mail == ""
    assert Owner.objects.count() == 3


@db
def test_a_namesake_with_another_address_is_another_owner():
    bring(file_of(row("a", Owner="ann@one.example")))
    bring(file_of(row("b", Owner="ann@two.example")))
    assert names() == {("ann", "ann@one.example"), ("ann@two.example", "ann@two.example")}
    bring(file_of(row("c", Owner="ann")))
    assert Key.objects.get(name="c").owner.mail == "ann@one.example"  # whose handle that is


@db
def test_a_handle_is_the_only_address_of_the_database_that_begins_with_it():
    make_owner("ann blum", "ann@example.org")
    bring(file_of(row("a", Owner="@ann")))
    assert Key.objects.get(name="a").owner.handle == "ann blum"
    assert Owner.objects.count() == 1


@db
def test_an_address_that_belongs_to_another_handle_stays_there():
    make_owner("ann")
    blum = make_owner("ann blum", "ann@example.org")
    bring(file_of(row("a", Owner="ann@example.org"), row("b", Owner="ann")))
    assert Key.objects.get(name="a").owner == blum
    assert Key.objects.get(name="b").owner.handle == "ann"
    assert Owner.objects.get(handle="ann").mail == ""


@db
def test_somebody_named_in_a_refused_row_is_told_apart_and_not_registered():
    content = file_of(
        row("a", Owner="ann"), row("b", Owner="ann@one.example"), row("c", Owner="ann@two.example", Created="soon")
    )
    done = bring(content)
    assert done.summary == "2 new, 0 changed, 0 unchanged, 1 refused"
    assert names() == {("ann", ""), ("ann@one.example", "ann@one.example")}


@db
def test_a_long_address_fits():
    mail = "a" * 230 + "@example.org"
    bring(file_of(row("a", Owner=mail), row("b", Owner="a" * 230 + "@example.com")))
    assert {owner.mail for owner in Owner.objects.all()} == {mail, "a" * 230 + "@example.com"}


@db
@pytest.mark.parametrize(
    ("handle", "kind"),
    [
        ("platform-team", "team"),
        ("sre-oncall", "team"),
        ("on-call", "team"),
        ("t.steamer", "person"),
        ("groupe", "person"),
    ],
)
def test_teams_are_told_by_a_whole_word(handle, kind):
    bring(file_of(row("a", Owner=handle)))
    assert Owner.objects.get().kind == kind


# Changes


@db
def test_a_changed_row_changes_what_it_says_and_erases_nothing():
    bring(file_of(row("a", Owner="ann", Service="billing", Created="2026-01-01", Notes="first", Environment="test")))
    seal()
    number = last_number()
    done = bring(file_of(row("a", Notes="second")))
    assert done.summary == "0 new, 1 changed, 0 unchanged, 0 refused"
    assert done.changed[0].fields == ("notes",)
    key = Key.objects.get()
    assert (key.notes, key.owner.handle, key.service.name, key.environment) == ("second", "ann", "billing", "test")
    assert (key.created_on, key.revision) == (date(2026, 1, 1), 2)
    seal()
    assert actions_since(number) == ["key.edited", "inventory.imported"]
    (event,) = events_of("key.edited")
    assert (event.said.subjects[0].before, event.said.subjects[0].after) == ({"notes": "first"}, {"notes": "second"})


@db
def test_never_and_a_date_contradict_the_record():
    bring(file_of(row("a", Created="2026-01-01", Last_rotated="2026-02-01"), row("b", Created="2026-03-01")))
    done = bring(file_of(row("a", Last_rotated="never"), row("b", Last_rotated="2026-02-01")))
    assert done.summary == "0 new, 0 changed, 0 unchanged, 2 refused"
    assert [(refusal.row, refusal.field) for refusal in done.refused] == [
        (2, "last_rotated_on"),
        (3, "last_rotated_on"),
    ]
    assert "the record has a rotation on 2026-02-01" in done.refused[0].problem
    assert "rotated on 2026-02-01, before it was created on 2026-03-01" in done.refused[1].problem
    for refusal in done.refused:
        assert refusal.problem.endswith(".")
        assert refusal.mend.endswith(".")


@db
def test_never_goes_away_when_a_rotation_of_unknown_age_is_dated():
    make_key(name="a", created_on=None, last_rotated_on=None, never_rotated=True)
    bring(file_of(row("a", Last_rotated="2026-02-01")))
    key = Key.objects.get()
    assert (key.never_rotated, key.last_rotated_on) == (False, date(2026, 2, 1))


@db
def test_a_file_that_is_no_table_is_refused_with_its_number(settings):
    with pytest.raises(TableError):
        bring(b"PK\x03\x04 a workbook")
    settings.IMPORT_MAX_ROWS = 2
    with pytest.raises(TableError, match="3"):
        bring(file_of(row("a"), row("b"), row("c")))
    settings.IMPORT_MAX_BYTES = 10
    with pytest.raises(TableError, match="10"):
        bring(file_of(row("a")))
    assert everything() == [[], [], [], []]


# The plan that somebody saw


@db
def test_the_digest_is_that_of_the_plan_and_of_the_records_it_would_change():
    content = file_of(row("a", Notes="from the file", Owner="ann"), row("b"))
    first = plan(content).digest
    assert plan(content).digest == first
    key = make_key(name="a", notes="by hand")
    second = plan(content).digest
    assert second != first
    services.edit_key(
        pk=key.pk, changes={"notes": "by another hand"}, expected_revision=1, actor=ACTOR, reason="x", now=NOW
    )
    assert plan(content).digest not in {first, second}
    third = plan(content).digest
    make_owner("ann")
    assert plan(content).digest != third


@db
def test_what_was_confirmed_is_what_is_written():
    content = file_of(row("a", Notes="from the file"))
    seen = plan(content).digest
    make_key(name="a")
    before = everything()
    with pytest.raises(PlanChangedError, match="has changed since this preview"), transaction.atomic():
        bring(content, expected_digest=seen)
    with pytest.raises(PlanChangedError), transaction.atomic():
        bring(content, expected_digest="")
    assert everything() == before
    assert bring(content, expected_digest=plan(content).digest).summary.startswith("0 new, 1 changed")


# Faults


@db
@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_a_failure_in_the_middle_leaves_nothing(fails_at, as_owner):
    """The n-th event of the import cannot be written."""
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(f"""
            CREATE FUNCTION public.refuse_late() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF (SELECT count(*) FROM public.audit_pending) > {fails_at - 1} THEN
                    RAISE EXCEPTION 'the disk is full';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER refuse_late AFTER INSERT ON public.audit_pending
                FOR EACH ROW EXECUTE FUNCTION public.refuse_late();
        """)
    with pytest.raises(AuditError), transaction.atomic():
        bring(SAMPLE.read_bytes())
    assert everything() == [[], [], [], []]
    seal()
    assert not Event.objects.exists()


@db
def test_long_notes_are_shared_out_over_several_events():
    note = "n" * 8_000
    done = bring(file_of(*[row(f"key {number}", Notes=note) for number in range(300)]))
    assert done.summary == "300 new, 0 changed, 0 unchanged, 0 refused"
    seal()
    counts = [len(event.said.subjects) for event in events_of("key.imported")]
    assert sum(counts) == 300
    assert len(counts) > 3
    assert Key.objects.filter(state=State.ACTIVE).count() == 300


@db
def test_thousands_of_rows_go_in_in_one_transaction_and_several_events():
    people = [f"person{number}@example.org" for number in range(1_100)]
    rows = [
        row(f"key {number}", Owner=people[number % 1_100], Service=f"s-{number % 40}", Created="2026-01-01")
        for number in range(2_200)
    ]
    assert bring(file_of(*rows)).summary == "2200 new, 0 changed, 0 unchanged, 0 refused"
    seal()
    assert [len(event.said.subjects) for event in events_of("owner.registered")] == [1000, 100]
    assert [len(event.said.subjects) for event in events_of("key.imported")] == [1000, 1000, 200]
    assert [len(event.said.subjects) for event in events_of("finding.opened")] == [1000, 1000, 200]
    assert EventSubject.objects.filter(subject__startswith="key:").count() == 2 * 2_200
    assert Key.objects.filter(state=State.ACTIVE).count() == 2_200
    changed = [one | {"Notes": "x"} for one in rows]
    assert bring(file_of(*changed)).summary == "0 new, 2200 changed, 0 unchanged, 0 refused"
    seal()
    assert [len(event.said.subjects) for event in events_of("key.edited")] == [1000, 1000, 200]


# Races


def test_of_two_imports_at_once_one_is_told_to_wait(committed_db):
    content = file_of(*[row(f"key {number}", Owner="ann") for number in range(400)])
    results = at_once(lambda: bring(content), lambda: bring(content))
    assert kinds(results) in (["ImportRunningError", "Plan"], ["Plan", "Plan"])
    assert sorted(result.summary for result in results if not isinstance(result, ImportRunningError))[-1] == (
        "400 new, 0 changed, 0 unchanged, 0 refused"
    )
    assert Key.objects.count() == 400
    assert Owner.objects.count() == 1


def test_an_import_that_runs_keeps_the_next_one_out(committed_db):
    with transaction.atomic():
        bring(file_of(row("a")))
        (result,) = at_once(lambda: bring(file_of(row("b"))))
    assert isinstance(result, ImportRunningError)
    assert bring(file_of(row("b"))).summary.startswith("1 new")


def test_an_import_and_a_registration_of_the_same_name_at_once(committed_db):
    for number in range(5):
        name = f"key {number}"
        results = at_once(lambda: bring(file_of(row(name))), lambda: make_key(name=name))  # noqa: B023
        assert Key.objects.filter(name=name).count() == 1
        if isinstance(results[0], StaleError):
            assert str(results[0]).startswith("The inventory was changed by somebody else")
        elif isinstance(results[1], Key):
            assert results[0].summary.startswith("0 new")


def test_an_import_that_tells_an_owner_again_and_an_edit_with_a_new_parent_at_once(committed_db):
    """The import waits for the key of the owner before it takes the turn for which the edit waits."""
    ann = make_owner("ann")
    edited, kek = make_key(name="edited", owner=ann), make_key(name="kek", kind="kek")
    is_locked, has_turn = threading.Event(), threading.Event()

    @transaction.atomic
    def edit():
        Key.objects.select_for_update(no_key=True).get(pk=edited.pk)
        is_locked.set()
        has_turn.wait(1)
        return relate(edited, parents=frozenset({(kek.pk, Relation.WRAPPED_BY.value)}))

    def read():
        is_locked.wait()
        content = file_of(row("new", Owner="ann@example.org", Wrapped_by="kek"), header="Name,Type,Owner,Wrapped by")
        return bring(content, tell=lambda *_said: has_turn.set())

    _, done = at_once(edit, read)
    assert done.summary == "1 new, 0 changed, 0 unchanged, 0 refused"
    assert set(KeyParent.objects.values_list("child__name", "parent__name")) == {("edited", "kek"), ("new", "kek")}
    assert Key.objects.get(name="edited").owner.mail == "ann@example.org"
