"""Which findings a change of a clause opens and closes is known before, and is then exactly what happens."""

import sys
from contextlib import contextmanager
from hashlib import sha256

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.effects import simulate
from inventory.finding_effects import SAMPLE, ClauseChange, findings_effect_of
from inventory.models import Finding, Key, KeyVersion, PolicyClause, ThreatLevel
from inventory.services import refresh_findings, review_findings
from inventory.services.clauses import refresh_after
from inventory.states import State
from inventory.terms import Access, Classification, Environment, KeyKind, StorageMedium
from tests import rules_by_votes
from tests.inventory.world import ACTOR, NOW, key_in, make_key

pytestmark = pytest.mark.django_db
HOW = {"actor": ACTOR, "reason": "the board decided", "now": NOW}
NEW = {"source": "S9", "document": "Our own policy", "section": "§2", "text": "As we say."}


def stands():
    return set(Finding.objects.filter(closed_at=None).values_list("key_id", "code"))


def overdue():
    return set(Key.objects.overdue(NOW).values_list("pk", flat=True))


def digest_of(opened, closed):
    """Say as docs/policies.md has it which findings opened and closed."""
    changed = sorted([(*one, "opens") for one in opened] + [(*one, "closes") for one in closed])
    blocks = {}
    for pk, code, how in changed:
        blocks.setdefault(pk // 10_000, []).append(f"key:{pk}|{how}|{code}")
    digests = [sha256("\n".join(lines).encode()).digest() for _, lines in sorted(blocks.items())]
    return sha256(b"".join(digests)).hexdigest()


def first_of(findings, code):
    return [pk for pk, of in sorted(findings) if of == code][:SAMPLE]


def changed_as_simulated(record, act):
    """Simulate, act, and compare every key and every finding; return what opened and what closed."""
    effect, before, late = simulate(clause=record, now=NOW), stands(), overdue()
    act(effect.digest)
    assert (len(overdue() - late), len(late - overdue())) == (effect.shares.become_late, effect.shares.late_no_more)
    return compare(effect.findings, before)


def compare(effect, before):
    """Compare what was said of the findings with what became of those that stood open."""
    after = stands()
    opened, closed = after - before, before - after
    assert effect.digest == digest_of(opened, closed)
    assert (effect.opens, effect.closes) == (len(opened), len(closed))
    assert {one.code for one in effect.by_code} == {code for _, code in opened | closed}
    for one in effect.by_code:
        assert [key.pk for key in one.opened] == first_of(opened, one.code)
        assert [key.pk for key in one.closed] == first_of(closed, one.code)
        assert one.opens == sum(code == one.code for _, code in opened)
        assert one.closes == sum(code == one.code for _, code in closed)
    review_findings(after=0, actor=ACTOR, now=NOW)
    assert stands() == after, "the change left findings behind that a review had to mend"
    return opened, closed


def edited(code, **changes):
    record = PolicyClause.objects.get(code=code)
    for name, value in changes.items():
        setattr(record, name, value)
    return changed_as_simulated(
        record,
        lambda seen: rules_by_votes.edit_clause(
            pk=record.pk, changes=changes, expected_revision=record.revision, expected_changes=seen, **HOW
        ),
    )


def registered(**facts):
    facts = NEW | facts
    return changed_as_simulated(
        PolicyClause(code="ours", **facts),
        lambda seen: rules_by_votes.register_clause(code="ours", facts=facts, expected_changes=seen, **HOW),
    )


def retired(code):
    record = PolicyClause.objects.get(code=code)
    record.is_in_force = False
    return changed_as_simulated(
        record,
        lambda seen: rules_by_votes.retire_clause(
            pk=record.pk, expected_revision=record.revision, expected_changes=seen, **HOW
        ),
    )


def share(*keys):
    """Let these keys hold one material."""
    digest = b"\0\0\0\1" + sha256(keys[0].name.encode()).digest()
    KeyVersion.objects.filter(key__in=keys).update(reuse_digest=digest)
    refresh_findings(keys=[key.pk for key in keys], actor=ACTOR, now=NOW)


@pytest.fixture
def inventory(any_db):
    """Keys with which some clause or other finds fault, and keys like them with which none does."""
    kek = {"kind": "kek", "algorithm": "RSA-2048", "size_bits": 2048}
    make_key(name="weak", **kek)
    make_key(name="weak, and can leave", is_exportable=True, **kek)
    make_key(name="strong", kind="kek", algorithm="AES-256", size_bits=256, is_exportable=True, environment="staging")
    make_key(name="short", kind="ssh_key", algorithm="RSA-2048", size_bits=2048)
    make_key(name="in a file", storage_medium="file")
    make_key(name="in the environment", storage_medium="environment_variable", last_rotated_on=NOW.date())
    make_key(name="with a person", kind="personal_token", storage_medium="password_manager", environment="test")
    make_key(name="in the code", storage_medium="source_control", environment="development")
    make_key(name="certificate", kind="tls_certificate", algorithm="RSA-4096", size_bits=4096)
    make_key(name="with a runbook", kind="tls_certificate", runbook_url="https://wiki.example/tls")
    make_key(name="of nobody knows what", environment="", classification="", access="", storage_medium="")
    key_in(State.DESTROYED, name="destroyed", storage_medium="source_control")
    share(make_key(name="here"), make_key(name="there", environment="staging"))
    share(make_key(name="backup", kind="backup_key", environment="test"), make_key(name="same in production"))
    review_findings(after=0, actor=ACTOR, now=NOW)


@contextmanager
def undone():
    """Try something on the inventory and take it back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


CHANGES = [  # of which clause, what, and codes that open and close by it
    ("s4-production-90", {"longest_age_days": 60}, set(), set()),
    ("s4-production-90", {"longest_age_days": 60, "smallest_strength_bits": 150}, {"weaker-than-demanded"}, set()),
    (
        "s4-production-90",
        {"forbidden_media": ["password_manager"], "environments": ["test"], "access": []},
        {"kept-in-forbidden-place"},
        set(),
    ),
    ("s4-production-90", {"allowed_media": ["file"]}, set(), set()),
    ("s0-5-vault", {"forbidden_media": ["offline"]}, set(), set()),  # others forbid the same
    ("s1-5-kek-strength", {"smallest_strength_bits": 129}, set(), set()),  # another one demands more of a KEK
    ("s2-exchange-strength", {"smallest_strength_bits": 100}, set(), {"weaker-than-demanded"}),
    ("s2-exchange-strength", {"kinds": ["ca_certificate"]}, set(), {"weaker-than-demanded"}),
    ("s1-6-2-kek-stays", {"not_exportable": False, "runbook_required": True}, {"without-runbook"}, {"exportable"}),
    ("s1-6-2-kek-stays", {"environments": ["staging"]}, set(), {"exportable"}),
    ("s1-6-2-kek-stays", {"classifications": ["restricted"]}, set(), {"exportable"}),
    ("s1-6-2-kek-stays", {"access": ["customer"]}, set(), {"exportable"}),
    ("s0-6-runbook", {"kinds": ["ca_certificate"]}, set(), {"without-runbook"}),
    ("s0-5-separate", {"environments": ["test"]}, set(), {"reused-across-environments"}),
    ("s0-5-separate", {"text": "Other words."}, set(), set()),
    ("s0-9-backup-apart", {"environments": ["staging"]}, set(), {"backup-equals-production"}),  # production's stays
]


def test_every_fact_of_a_clause_does_what_was_simulated(inventory):
    for code, changes, opening, closing in CHANGES:
        with undone():
            opened, closed = edited(code, **changes)
            assert ({of for _, of in opened}, {of for _, of in closed}) == (opening, closing), (code, changes)


def test_a_new_clause_opens_what_was_simulated(inventory):
    apart = {"separate_from_production": True, "kinds": ["backup_key"]}
    for facts, codes in (
        ({"kinds": ["api_token"], "longest_age_days": 30}, set()),
        ({"smallest_strength_bits": 129}, {"weaker-than-demanded"}),
        ({"forbidden_media": StorageMedium.values}, {"kept-in-forbidden-place"}),
        ({"not_exportable": True, "environments": ["staging"]}, set()),
        ({"not_exportable": True, "runbook_required": True}, {"without-runbook"}),
        ({**apart, "environments": ["development"]}, set()),
    ):
        with undone():
            opened, closed = registered(**facts)
            assert ({code for _, code in opened}, closed) == (codes, set()), facts


def test_a_retired_clause_closes_what_was_simulated(inventory):
    for code, codes in {
        "s1-6-2-kek-stays": {"exportable"},
        "s0-6-runbook": {"without-runbook"},
        "s0-5-separate": {"reused-across-environments"},
        "s0-9-backup-apart": {"backup-equals-production"},
        "s0-5-annual": set(),
        "s0-5-vault": set(),
    }.items():
        with undone():
            opened, closed = retired(code)
            assert ({of for _, of in closed}, opened) == (codes, set()), code


def test_it_costs_as_many_queries_at_a_few_keys_as_at_hundreds(any_db):
    """Nothing is asked of a key by itself: the facts of all, the clauses, and what stands open."""
    others = {"runbook_required": False, "on_events": ["x"]}
    cases = [
        ({"longest_age_days": 30, **others}, 0, 0),
        ({"runbook_required": True}, 3, 1),
        ({"runbook_required": True, "smallest_strength_bits": 256, "separate_from_production": True}, 4, 2),
    ]
    for first, count in ((0, 5), (5, 300)):
        for number in range(first, first + count):
            Key.objects.bulk_create([Key(name=f"key {number}", kind="api_token", algorithm=f"RSA-{2048 + number % 3}")])
        for facts, queries, codes in cases:
            change = ClauseChange(None, PolicyClause(code="ours", **NEW, **facts).terms)
            with CaptureQueriesContext(connection) as asked:
                effect = findings_effect_of(change)
            assert (len(asked), effect.opens) == (queries, (first + count) * codes)


def test_a_backup_key_of_production_is_not_found_equal_to_itself(inventory):
    share(make_key(name="alone", kind="backup_key"))
    with undone():
        assert registered(separate_from_production=True, kinds=["backup_key"], classifications=["public"])[0] == set()


def test_the_threat_level_opens_nothing(inventory):
    effect = simulate(threat=ThreatLevel(pk=1, level="high"), now=NOW)
    assert effect.changed
    assert (effect.findings.opens, effect.findings.closes, effect.digest) == (0, 0, effect.changes_digest)


def test_only_what_is_not_open_yet_opens(inventory):
    """What somebody else closed or opened meanwhile is not counted a second time."""
    record = PolicyClause.objects.get(code="s1-6-2-kek-stays")
    record.is_in_force = False
    assert simulate(clause=record, now=NOW).findings.closes == 2
    Finding.objects.filter(code="exportable", key__name="strong").update(closed_at=NOW)
    (change,) = simulate(clause=record, now=NOW).findings.by_code
    assert [key.name for key in change.closed] == ["weak, and can leave"]


def some(values, **how):
    return st.lists(st.sampled_from(values), unique=True, **how)


LIKELY = ["kek", "api_token", "tls_certificate", "backup_key"]
PLACES = ["", "file", "environment_variable", "source_control", "key_vault"]
KEYS = st.tuples(
    st.sampled_from(LIKELY),
    st.sampled_from(["", *Environment.values]),
    st.sampled_from(["", "internal", "restricted"]),
    st.sampled_from(["", *Access.values]),
    st.sampled_from(PLACES),
    st.sampled_from([None, True, False]),
    st.sampled_from(["", "https://wiki.example/x"]),
    st.sampled_from([("", None), ("RSA-2048", 2048), ("RSA-4096", 4096), ("AES-256", 256), ("ROT13", None)]),
    st.sampled_from([None, None, b"a", b"b", b"c"]),  # its material
)
TERMS = st.fixed_dictionaries({
    "kinds": st.one_of(some(LIKELY), some(KeyKind.values, max_size=3)),
    "environments": some(Environment.values, max_size=2),
    "classifications": some(Classification.values, max_size=2),
    "access": some(["production", "customer"]),
    "longest_age_days": st.none() | st.integers(1, 3650),
    "smallest_strength_bits": st.sampled_from([None, 112, 129, 150, 256]),
    "forbidden_media": some(PLACES[1:3]),
    "allowed_media": some(PLACES[3:]),
    "not_exportable": st.booleans(),
    "runbook_required": st.booleans(),
    "separate_per_environment": st.booleans(),
    "separate_from_production": st.booleans(),
})  # fmt: skip
ALWAYS = {"on_events": ["it leaks"]}  # so that whatever else is demanded or not, the clause says something


def filled(keys):
    """Register keys as a bare list, and find what is wrong with them."""
    made = [
        Key(
            name=f"key {number}", kind=kind, environment=environment, classification=classification, access=access,
            storage_medium=medium, is_exportable=exportable, runbook_url=runbook, algorithm=algorithm, size_bits=bits,
            last_rotated_on=NOW.date(),
        )
        for number, (kind, environment, classification, access, medium, exportable, runbook, (algorithm, bits), _)
        in enumerate(keys)
    ]  # fmt: skip
    Key.objects.bulk_create(made)
    KeyVersion.objects.bulk_create(
        KeyVersion(key=key, number=1, reuse_digest=said[-1] and said[-1] * 36)
        for key, said in zip(made, keys, strict=True)
    )
    review_findings(after=0, actor=ACTOR, now=NOW)


def put(code, **facts):
    """Store a clause as the database's owner can, and refresh what follows from it; without votes and dates."""
    stored = PolicyClause.objects.filter(code=code, is_in_force=True).first()
    before, record = stored and stored.terms, stored or PolicyClause(code=code, **NEW)
    for name, value in facts.items():
        setattr(record, name, value)
    change = ClauseChange(before, record.terms if record.is_in_force else None)
    effect, stood = findings_effect_of(change), stands()
    record.save()
    change = ClauseChange(before, record.terms if record.is_in_force else None)
    assert findings_effect_of(change) == effect, "what is simulated is not what is counted when it is done"
    refresh_after(change, actor=ACTOR, now=NOW)
    compare(effect, stood)


@settings(
    max_examples=300 if "tests.full" in sys.modules else 8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(KEYS, min_size=1, max_size=15), TERMS, TERMS)
def test_any_clause_on_any_keys_does_what_was_simulated(any_db, as_owner, keys, first, then):
    with undone(), as_owner():
        filled(keys)
        put("ours", **first, **ALWAYS)
        put("ours", **then, **ALWAYS)
        put("ours", is_in_force=False)
        put("s0-5-separate", is_in_force=False)
        put("s0-9-backup-apart", is_in_force=False)
