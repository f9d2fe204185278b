"""Findings open and close by themselves, with their events, and nothing happens when nothing changes."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from audit.actions import Action
from audit.actor import Actor
from inventory import services, tasks
from inventory.examining import touched_by_clause
from inventory.findings import CATALOGUE
from inventory.guarded.suspending import suspend_key
from inventory.models import Finding, Key, PolicyClause
from inventory.selectors import posture
from inventory.services import Relations, refresh_findings, review_findings
from inventory.states import State
from tests import rules_by_votes
from tests.approving import as_worker
from tests.deciding import approve
from tests.inventory.world import (
    ACTOR,
    NOW,
    actions_since,
    allowed,
    event_for,
    events_of,
    key_in,
    last_number,
    make_key,
    make_owner,
    seal,
    set_state,
)
from tests.people import sign_in

db = pytest.mark.usefixtures("db")
LIST = "/inventory/finding/"


def under(*parents):
    """Say that a key is wrapped by these."""
    return Relations(parents=frozenset((parent.pk, "wrapped_by") for parent in parents))


def edit(key, now=NOW, relations=None, **changes):
    revision = Key.objects.get(pk=key.pk).revision
    return services.edit_key(
        pk=key.pk, changes=changes, expected_revision=revision, relations=relations, actor=ACTOR, reason="test", now=now
    )


def whole(**changes):
    """Register a key with which nothing is wrong."""
    owner = changes["owner"] if changes.get("owner") else make_owner(f"owner-{Key.objects.count()}")
    service = services.register_service(name=f"service {Key.objects.count()}", actor=ACTOR, now=NOW)
    relations = under(changes.pop("parent")) if "parent" in changes else None
    return make_key(relations=relations, **({"creator": owner, "owner": owner, "service": service} | changes))


def stands(key):
    return sorted(Finding.objects.filter(key=key, closed_at=None).values_list("code", flat=True))


def review(now=NOW, **how):
    return review_findings(after=0, actor=ACTOR, now=now, **how)


@db
@pytest.mark.parametrize(
    ("wrong", "right", "code"),
    [
        ({"creator": None}, "creator", "missing-creator"),
        ({"owner": None}, "owner", "missing-owner"),
        ({"service": None}, "service", "missing-service"),
        ({"environment": ""}, {"environment": "production"}, "missing-environment"),
        ({"storage_medium": "source_control"}, {"storage_medium": "key_vault"}, "kept-in-source-control"),
        ({"storage_medium": "environment_variable"}, {"storage_medium": "hsm"}, "kept-in-environment-variable"),
        ({"storage_medium": "kubernetes_secret"}, {"storage_medium": "hsm"}, "kept-in-kubernetes-secret"),
        ({"algorithm": "DES"}, {"algorithm": "opaque"}, "algorithm-prohibited"),
        ({"algorithm": "ROT13"}, {"algorithm": "opaque"}, "algorithm-unknown"),
        ({"algorithm": "3DES"}, {"algorithm": "opaque"}, "algorithm-not-for-new-keys"),
        ({"kind": "kek", "algorithm": "AES-256", "is_exportable": True}, {"is_exportable": False}, "exportable"),
        (
            {"kind": "tls_certificate", "algorithm": "ECDSA P-256"},
            {"runbook_url": "https://wiki.example/tls"},
            "without-runbook",
        ),
    ],
)  # fmt: skip
def test_a_finding_opens_with_the_record_and_closes_with_its_mend(wrong, right, code):
    key = whole(**{"kind": "api_token", **wrong})
    if isinstance(right, str):
        other = make_owner("ann") if right != "service" else services.register_service(name="x", actor=ACTOR, now=NOW)
        right = {right: other}
    assert code in stands(key)
    seal()
    number = last_number()
    edit(key, now=NOW + timedelta(hours=1), **right)
    seal()
    assert code not in stands(key)
    assert actions_since(number, findings=True) == ["key.edited", "finding.closed"]
    (subject,) = events_of("finding.closed")[-1].said.subjects
    assert set(subject.before["findings"]) - set(subject.after["findings"]) >= {code}
    finding = Finding.objects.get(key=key, code=code)
    assert (finding.opened_at, finding.closed_at) == (NOW, NOW + timedelta(hours=1))
    assert finding.clause == CATALOGUE[code].clause or "{" in CATALOGUE[code].clause


@db
def test_what_is_wrong_again_is_a_finding_of_its_own():
    key = whole(storage_medium="source_control")
    edit(key, storage_medium="hsm")
    edit(key, storage_medium="source_control")
    assert [f.is_open for f in Finding.objects.filter(key=key).order_by("pk")] == [False, True]


@db
def test_nothing_is_written_when_nothing_changes():
    key = make_key()
    seal()
    number, before = last_number(), list(Finding.objects.values())
    refresh_findings(keys=[key.pk], actor=ACTOR, now=NOW + timedelta(hours=1))
    refresh_findings(keys=[], actor=ACTOR, now=NOW)
    seal()
    assert actions_since(number, findings=True) == []
    assert list(Finding.objects.values()) == before


@db
def test_a_kek_is_examined_with_the_keys_under_it():
    kek = whole(name="kek", kind="kek", algorithm="RSA-2048", size_bits=2048)
    dek = whole(name="dek", kind="dek", algorithm="AES-256", size_bits=256, secret_name="smtp", parent=kek)
    assert "kek-weaker-than-deks" in stands(kek)
    strong = whole(name="strong", kind="kek", algorithm="AES-256", size_bits=256)
    edit(dek, relations=under(strong))
    assert "kek-weaker-than-deks" not in stands(kek)
    edit(dek, relations=under(kek))
    edit(kek, algorithm="AES-256", size_bits=256)
    assert "kek-weaker-than-deks" not in stands(kek)


@db
def test_what_an_open_finding_says_follows_the_record():
    kek = whole(name="kek", kind="kek", algorithm="RSA-2048", size_bits=2048)
    for number in range(2):
        whole(name=f"dek {number}", kind="dek", algorithm="AES-256", secret_name=f"s{number}", parent=kek)
    seal()
    finding = Finding.objects.get(key=kek, code="kek-weaker-than-deks")
    assert finding.facts["deks"] == 2
    assert len([e for e in events_of("finding.opened") if e.said.subjects[0].ref == kek.ref]) <= 2


@db
def test_a_deactivated_key_with_keys_under_it_is_found():
    kek = whole(name="kek", kind="kek", algorithm="AES-256", size_bits=256)
    dek = whole(name="dek", kind="dek", algorithm="AES-256", secret_name="smtp", parent=kek)
    version = kek.versions.get()
    type(version).objects.filter(pk=version.pk).update(deactivated_at=NOW)
    with allowed(kek, Action.KEY_DEACTIVATED) as facts:
        set_state(version, State.DEACTIVATED, event_for(kek, Action.KEY_DEACTIVATED, facts=facts))
    review()
    assert stands(kek) == ["deactivated-but-referenced"]
    edit(dek, relations=under())
    assert stands(kek) == []


@db
def test_a_destroyed_key_has_no_findings():
    key = key_in(State.DESTROYED)
    assert stands(key)
    review()
    assert stands(key) == []


@db
def test_a_suspension_is_found_by_the_night():
    key = whole()
    suspend_key(pk=key.pk, actor=ACTOR, reason="seen in a log", now=NOW)
    assert review(NOW + timedelta(hours=72)).opened.total() == 0
    done = review(NOW + timedelta(hours=73))
    assert (dict(done.opened), stands(key)) == ({"suspended-too-long": 1}, ["suspended-too-long"])
    assert review(NOW + timedelta(hours=74)).opened.total() == 0


@db
def test_an_algorithm_is_found_on_its_day_and_once():
    key = whole(kind="kek", algorithm="RSA-OAEP-256", size_bits=2048, created_on=date(2020, 1, 1),
                last_rotated_on=None, never_rotated=True)  # fmt: skip
    eve = datetime(2030, 12, 31, 23, 0, tzinfo=UTC)
    assert review(eve).opened.total() == 0
    assert dict(review(eve + timedelta(hours=2)).opened) == {"algorithm-legacy": 1}
    assert Finding.objects.get(key=key, code="algorithm-legacy").opened_at == eve + timedelta(hours=2)
    seal()
    number = last_number()
    assert review(eve + timedelta(hours=3)).opened.total() == 0
    seal()
    assert actions_since(number, findings=True) == []


@db
def test_an_owner_who_left_is_found(bob, as_role):
    owner = make_owner("bob", user_id=bob.pk)
    key = whole(owner=owner)
    assert stands(key) == []
    with as_role("command"):
        type(bob).objects.filter(pk=bob.pk).update(is_active=False)
    review()
    assert stands(key) == ["owner-gone"]
    assert "bob" in Finding.objects.get(key=key).sentence


@db
def test_a_dry_run_writes_nothing(capsys):
    key = whole()
    suspend_key(pk=key.pk, actor=ACTOR, reason="x", now=NOW)
    with time_machine.travel(NOW + timedelta(days=4), tick=False):
        call_command("review_findings", "--dry-run")
        assert stands(key) == []
        call_command("review_findings")
    assert stands(key) == ["suspended-too-long"]
    said = capsys.readouterr().out
    assert said.count("opened 1: suspended too long") == 2
    assert "nothing was written" in said


@db
def test_the_nightly_task_goes_through_all_keys_in_chunks(monkeypatch):
    keys = [whole(name=f"key {number}", storage_medium="source_control") for number in range(5)]
    Finding.objects.update(closed_at=NOW)
    with time_machine.travel(NOW + timedelta(days=400), tick=False):
        monkeypatch.setattr("inventory.services.findings.KEYS_AT_ONCE", 2)
        monkeypatch.setattr(tasks, "CHUNKS_AT_ONCE", 1)
        handed_on = []
        monkeypatch.setattr(tasks.review_findings, "delay", lambda *, after: handed_on.append(after))
        tasks.review_findings()
        while handed_on:
            last = handed_on.pop()
            tasks.review_findings(after=last)
    assert last == keys[-1].pk
    assert [stands(key) for key in keys] == [["kept-in-source-control"]] * 5


def cost_of_refresh(keys):
    with CaptureQueriesContext(connection) as queries:
        refresh_findings(keys=[key.pk for key in keys], actor=ACTOR, now=NOW)
    return len(queries)


@db
def test_refresh_costs_the_same_for_any_number_of_keys():
    kek = make_key(name="kek", kind="kek", algorithm="RSA-2048", size_bits=2048)
    keys = [
        make_key(name=f"key {n}", kind="dek", algorithm="AES-256", secret_name=f"s{n}", relations=under(kek))
        for n in range(12)
    ]
    assert cost_of_refresh(keys[:1]) == cost_of_refresh(keys) <= 13


@db
def test_an_import_of_a_thousand_keys_opens_findings_in_one_event():
    lines = "".join(f"key {number},API token\n" for number in range(1_000))
    with CaptureQueriesContext(connection) as queries:
        services.apply_import(
            content=f"Name,Type\n{lines}".encode(), file_name="x.csv", actor=ACTOR, reason="x", now=NOW
        )
    seal()
    assert len(queries) < 45
    (event,) = events_of("finding.opened")
    assert len(event.said.subjects) == 1_000
    assert Finding.objects.count() >= 6_000


@db
def test_findings_cannot_be_deleted_or_rewritten():
    key = make_key()
    findings = Finding.objects.filter(key=key)
    for write in (
        findings._raw_delete,
        lambda _using: findings.update(code="x"),
        lambda _using: findings.update(opened_at=NOW),
    ):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            write("default")


@db
def test_the_same_finding_is_open_once():
    finding = Finding.objects.filter(key=make_key()).first()
    with pytest.raises(IntegrityError), transaction.atomic():
        Finding.objects.create(key=finding.key, code=finding.code, severity=4, clause="x", opened_at=NOW)


# By the clauses of the day


def clause(code):
    return PolicyClause.objects.get(code=code)


def change_clause(code, **changes):
    one = clause(code)
    return rules_by_votes.edit_clause(
        pk=one.pk, changes=changes, expected_revision=one.revision, actor=ACTOR, reason="test", now=NOW
    )


@db
def test_a_clause_opens_and_closes_what_it_demands():
    kept = whole(name="kept", storage_medium="password_manager")
    apart = whole(name="apart", storage_medium="hsm")
    seal()
    number = last_number()
    one = rules_by_votes.register_clause(
        code="x-vault", facts={"source": "S9", "document": "d", "section": "§1", "text": "t", "requirement": "R999",
                               "forbidden_media": ["password_manager"]}, actor=ACTOR, reason="test", now=NOW,
    )  # fmt: skip
    seal()
    assert (stands(kept), stands(apart)) == (["kept-in-forbidden-place"], [])
    assert Finding.objects.get(key=kept, closed_at=None).clause == "R999, S9 §1"
    assert actions_since(number, findings=True) == ["clause.registered", "finding.opened"]
    change_clause("x-vault", environments=["test"])
    assert stands(kept) == []
    change_clause("x-vault", environments=[])
    assert stands(kept) == ["kept-in-forbidden-place"]
    number = last_number()
    retired = clause("x-vault")
    rules_by_votes.retire_clause(pk=one.pk, expected_revision=retired.revision, actor=ACTOR, reason="test", now=NOW)
    seal()
    assert stands(kept) == []
    assert actions_since(number, findings=True)[-2:] == ["clause.retired", "finding.closed"]


@db
@pytest.mark.parametrize(
    ("code", "changes", "wrong", "found"),
    [
        (
            "s1-6-2-kek-stays",
            {"not_exportable": False, "runbook_required": True},
            {"is_exportable": True},
            "exportable",
        ),
        ("s2-exchange-strength", {"smallest_strength_bits": 112}, {"size_bits": 2048}, "weaker-than-demanded"),
        ("s0-5-separate", {"separate_per_environment": False, "runbook_required": True}, {}, ""),
    ],
)
def test_a_weaker_demand_closes_what_the_stronger_one_opened(code, changes, wrong, found):
    key = whole(**{"kind": "kek", "algorithm": "RSA-4096", "size_bits": 4096, "runbook_url": "https://wiki.example/x"}
                | wrong | ({"algorithm": "RSA-2048"} if "size_bits" in wrong else {}))  # fmt: skip
    assert (found in stands(key)) == bool(found)
    change_clause(code, **changes)
    assert found not in stands(key)


@db
def test_a_new_longest_age_examines_nothing():
    whole(storage_medium="source_control")
    one = PolicyClause.objects.filter(longest_age_days__isnull=False).first()
    with CaptureQueriesContext(connection) as queries:
        change_clause(one.code, longest_age_days=one.longest_age_days - 1)
    assert not [query for query in queries if "inventory_finding" in query["sql"]]


@db
def test_a_clause_costs_what_it_finds_and_not_what_there_is():
    """Only keys that the clause could find fault with are read."""
    whole(name="kept", storage_medium="password_manager")
    for number in range(3):
        whole(name=f"apart {number}", storage_medium="hsm")
    terms = PolicyClause(code="x", forbidden_media=["password_manager"]).terms
    assert [Key.objects.get(pk=pk).name for pk in touched_by_clause(None, terms)] == ["kept"]
    assert list(touched_by_clause(None, PolicyClause(code="x", longest_age_days=9).terms)) == []


# By what others hold


def new_material():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PEM = new_material()


def give(key, material):
    services.register_material_digest(pk=key.pk, material=material, actor=ACTOR, reason="test", now=NOW)


@db
def test_the_same_material_is_found_in_both_places_and_ends_in_both(carol, bob):
    one, two = whole(name="one", kind="signing_key", algorithm="RSA-4096", size_bits=4096), whole(
        name="two", kind="signing_key", algorithm="RSA-4096", size_bits=4096, environment="staging", access="none"
    )  # fmt: skip
    assert (stands(one), stands(two)) == ([], [])
    give(one, PEM)
    give(two, PEM)
    assert stands(one) == stands(two) == ["reused-across-environments"]
    assert "production, staging: two." in Finding.objects.get(key=one).sentence
    edit(two, environment="test")
    assert "production, test: two." in Finding.objects.get(key=one).sentence
    give(two, new_material())
    assert (stands(one), stands(two)) == ([], [])
    give(two, PEM)
    who = Actor(kind="person", id=f"user:{carol.pk}")
    asked = services.report_rotation(pk=one.pk, rotated_on=NOW.date(), evidence="ticket 4", actor=who, now=NOW)
    assert stands(one) == ["reused-across-environments"]
    assert approve(asked, bob, now=NOW).state == "executed"
    assert (stands(one), stands(two)) == ([], [])
    give(one, PEM)
    assert stands(one) == stands(two) == ["reused-across-environments"]
    edit(two, environment="production")
    assert (stands(one), stands(two)) == ([], [])


@db
def test_a_backup_key_equal_to_one_of_production_is_found_on_both():
    of_production = whole(name="prod", kind="hmac_key", algorithm="AES-256", size_bits=256)
    backup = whole(name="backup", kind="backup_key", algorithm="AES-256", size_bits=256)
    for key in (of_production, backup):
        give(key, PEM)
    assert stands(of_production) == stands(backup) == ["backup-equals-production"]
    assert {f.clause for f in Finding.objects.filter(closed_at=None)} == {"R42, S0 §9 Backup Encryption"}


@db
def test_an_owner_who_is_made_inactive_is_found_at_once():
    owner = make_owner("ann")
    key, other = whole(name="a", owner=owner), whole(name="b")
    for seen, (is_active, expected) in enumerate(((False, ["owner-gone"]), (True, [])), start=1):
        how = {"expected_revision": seen, "actor": ACTOR, "reason": "test", "now": NOW}
        services.edit_owner(pk=owner.pk, changes={"is_active": is_active}, **how)
        assert (stands(key), stands(other)) == (expected, [])


@db
def test_the_end_of_the_period_of_use_closes_what_it_answers():
    key = whole(protect_until=NOW + timedelta(days=1))
    review(NOW + timedelta(days=1))
    assert stands(key) == ["past-period-of-use"]
    with as_worker():
        services.apply_due_transitions(actor=ACTOR, now=NOW + timedelta(days=1))
    assert stands(key) == []


# Races


def at_once(*acts):
    def run(act):
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def test_a_night_and_an_edit_at_once_leave_what_is_right(committed_db):
    for number in range(5):
        key = make_key(name=f"key {number}", storage_medium="source_control")
        Finding.objects.filter(key=key, code="kept-in-source-control").update(closed_at=NOW)  # the night finds it
        at_once(lambda: edit(key, storage_medium="key_vault"), review)  # noqa: B023
        assert "kept-in-source-control" not in stands(key)


def test_two_who_change_keys_under_one_kek_miss_nothing(committed_db):
    kek = make_key(name="kek", kind="kek", algorithm="RSA-2048", size_bits=2048)
    deks = [
        make_key(name=f"dek {n}", kind="dek", algorithm="AES-256", secret_name=f"s{n}", relations=under(kek))
        for n in range(2)
    ]
    for parents, is_weak in (((), False), ((kek,), True)):
        at_once(lambda: edit(deks[0], relations=under(*parents)), lambda: edit(deks[1], relations=under(*parents)))  # noqa: B023
        assert ("kek-weaker-than-deks" in stands(kek)) == is_weak
    assert Finding.objects.get(key=kek, code="kek-weaker-than-deks", closed_at=None).facts["deks"] == 2


# Pages


@pytest.fixture
def page(client, dave):
    def read(address, status=200):
        answer = client.get(address)
        assert answer.status_code == status
        return re.sub(r"\s+", " ", answer.content.decode())

    with time_machine.travel(NOW, tick=False):
        sign_in(client, dave)
        yield read


def test_the_list_says_what_is_wrong_and_what_to_do(page):
    key = whole(storage_medium="source_control", name="<b>key</b>")
    shown = page(LIST)
    for words in (
        "&lt;b&gt;key&lt;/b&gt;",
        "kept in source control",
        "Treat it as leaked",
        "R22, S0 §5",
        "21 Nov 2026",
    ):
        assert words in shown
    assert f"/inventory/key/{key.pk}/change/" in shown
    edit(key, storage_medium="hsm")
    assert "Treat it as leaked" not in page(LIST)
    assert "Treat it as leaked" in page(f"{LIST}?state=closed")
    assert "Treat it as leaked" in page(f"{LIST}?state=all&code=kept-in-source-control&severity__exact=1")
    assert "Treat it as leaked" not in page(f"{LIST}?state=all&code=missing-owner")


def test_a_finding_leads_to_its_key(page, client):
    key = make_key()
    finding = Finding.objects.filter(key=key).first()
    assert client.get(f"{LIST}{finding.pk}/change/").url == f"/inventory/key/{key.pk}/change/"
    page(f"{LIST}x/change/", status=404)


def test_the_list_costs_the_same_for_any_number_of_findings(page):
    def cost():
        with CaptureQueriesContext(connection) as queries:
            page(LIST)
        return len(queries)

    make_key(name="first")
    before = cost()
    for number in range(6):
        make_key(name=f"key {number}")
    assert cost() == before


def test_the_dossier_says_since_when(page):
    key = make_key()
    seal()
    shown = page(f"/inventory/key/{key.pk}/change/")
    assert "The owner is not recorded." in shown
    assert "open since" in shown
    assert "owner missing" in shown  # the timeline


def test_the_first_page_and_the_inventory_count_them(page):
    whole(name="right")
    make_key(name="wrong", storage_medium="source_control")
    counted = posture(NOW)
    assert (counted.open_findings, counted.critical_findings) == (Finding.objects.count(), 1)
    shown = page("/")
    assert "Open findings" in shown
    assert "1 critical" in shown
    for query, names in (
        ("any", {"wrong"}),
        ("critical", {"wrong"}),
        ("missing-owner", {"wrong"}),
        ("owner-gone", set()),
    ):
        listed = page(f"/inventory/key/?finding={query}")
        assert {name for name in ("right", "wrong") if f">{name}<" in listed} == names, query


def test_somebody_without_a_role_sees_no_findings(client, mallory):
    client.force_login(mallory)
    assert client.get(LIST).status_code == 302
