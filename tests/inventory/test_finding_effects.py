"""Which findings a change of a clause opens and closes is known before, and is then exactly what happens."""

from hashlib import sha256

import pytest

from inventory.effects import simulate
from inventory.finding_effects import SAMPLE
from inventory.models import Finding, Key, KeyVersion, PolicyClause
from inventory.services import refresh_findings, review_findings
from inventory.states import State
from inventory.terms import StorageMedium
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
    after = stands()
    opened, closed = after - before, before - after
    assert effect.findings.digest == digest_of(opened, closed)
    assert (effect.findings.opens, effect.findings.closes) == (len(opened), len(closed))
    assert {one.code for one in effect.findings.by_code} == {code for _, code in opened | closed}
    for one in effect.findings.by_code:
        assert [key.pk for key in one.opened] == first_of(opened, one.code)
        assert [key.pk for key in one.closed] == first_of(closed, one.code)
        assert one.opens == sum(code == one.code for _, code in opened)
        assert one.closes == sum(code == one.code for _, code in closed)
    assert (len(overdue() - late), len(late - overdue())) == (effect.shares.become_late, effect.shares.late_no_more)
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
    ("s2-exchange-strength", {"kinds": ["ssh_key"]}, set(), {"weaker-than-demanded"}),
    ("s1-6-2-kek-stays", {"not_exportable": False, "runbook_required": True}, {"without-runbook"}, {"exportable"}),
    ("s1-6-2-kek-stays", {"environments": ["staging"]}, set(), {"exportable"}),
    ("s1-6-2-kek-stays", {"classifications": ["restricted"]}, set(), {"exportable"}),
    ("s1-6-2-kek-stays", {"access": ["customer"]}, set(), {"exportable"}),
    ("s0-6-runbook", {"kinds": ["ca_certificate"]}, set(), {"without-runbook"}),
    ("s0-5-separate", {"environments": ["test"]}, set(), {"reused-across-environments"}),
    ("s0-5-separate", {"text": "Other words."}, set(), set()),
    ("s0-9-backup-apart", {"environments": ["staging"]}, set(), set()),
]


@pytest.mark.parametrize(("code", "changes", "opening", "closing"), CHANGES)
def test_every_fact_of_a_clause_does_what_was_simulated(inventory, code, changes, opening, closing):
    opened, closed = edited(code, **changes)
    assert ({of for _, of in opened}, {of for _, of in closed}) == (opening, closing)


@pytest.mark.parametrize(
    ("facts", "codes"),
    [
        ({"kinds": ["api_token"], "longest_age_days": 30}, set()),
        ({"smallest_strength_bits": 129}, {"weaker-than-demanded"}),
        ({"forbidden_media": StorageMedium.values}, {"kept-in-forbidden-place"}),
        ({"not_exportable": True, "environments": ["staging"]}, set()),
        ({"not_exportable": True, "runbook_required": True}, {"without-runbook"}),
        ({"separate_from_production": True, "kinds": ["backup_key"], "environments": ["development"]}, set()),
    ],
)
def test_a_new_clause_opens_what_was_simulated(inventory, facts, codes):
    opened, closed = registered(**facts)
    assert {code for _, code in opened} == codes
    assert not closed


@pytest.mark.parametrize(
    ("code", "codes"),
    [
        ("s1-6-2-kek-stays", {"exportable"}),
        ("s0-6-runbook", {"without-runbook"}),
        ("s0-5-separate", {"reused-across-environments"}),
        ("s0-9-backup-apart", {"backup-equals-production"}),
        ("s0-5-annual", set()),
        ("s0-5-vault", set()),
    ],
)
def test_a_retired_clause_closes_what_was_simulated(inventory, code, codes):
    opened, closed = retired(code)
    assert not opened
    assert {of for _, of in closed} == codes
