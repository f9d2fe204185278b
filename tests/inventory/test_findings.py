"""What is wrong with a key is said with its clause and its mend, by its record, the day and what is around it."""

from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from inventory.algorithms import clause_strength, read_table
from inventory.findings import (
    CATALOGUE,
    Demands,
    Peers,
    Surroundings,
    Table,
    Under,
    definition,
    findings,
    mandatory_facts,
    said,
)
from inventory.models import Integration, Key, Owner, PolicyClause, Service, Tenant

ROOT = Path(__file__).resolve().parent.parent.parent
CSV = (ROOT / "inventory" / "data" / "algorithm_policy.csv").read_text(encoding="utf-8")
TABLE = Table(read_table(CSV, read_on=date(2026, 11, 21)))
SHIPPED = import_module("inventory.migrations.0006_clauses").CLAUSES
DEMANDS = Demands([
    PolicyClause(source=of[0], document=of[1], **clause).terms
    for one in SHIPPED
    for clause in [dict(one)]
    for of in [clause.pop("of")]
])  # fmt: skip
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WHOLE = {
    "name": "billing/stripe",
    "kind": "api_token",
    "environment": "production",
    "created_on": date(2026, 1, 10),
    "last_rotated_on": date(2026, 7, 13),
    "state": "active",
}


def whole(**changes):
    people = {"creator": Owner(pk=1), "owner": Owner(pk=1), "service": Service(pk=1)}
    return Key(**(WHOLE | people | changes))


def around(now=NOW, **changes):
    return Surroundings(**({"now": now, "table": TABLE, "demands": DEMANDS} | changes))


def found(key, **changes):
    return findings(key, around(**changes))


def codes(key, **changes):
    return [finding.code for finding in found(key, **changes)]


def kek(**changes):
    return whole(**({"kind": "kek", "algorithm": "AES-256", "size_bits": 256} | changes))


def test_a_whole_record_has_no_findings():
    assert codes(whole()) == []
    assert codes(kek()) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"creator": None}, "missing-creator"),
        ({"service": None}, "missing-service"),
        ({"created_on": None}, "missing-created"),
        ({"last_rotated_on": None}, "missing-rotated"),
        ({"owner": None}, "missing-owner"),
        ({"environment": ""}, "missing-environment"),
        ({"created_on": None, "last_rotated_on": None, "never_rotated": True}, "age-unknown"),
        ({"environment": "test"}, "access-unknown"),
        ({"storage_medium": "source_control"}, "kept-in-source-control"),
        ({"storage_medium": "environment_variable"}, "kept-in-environment-variable"),
        ({"storage_medium": "kubernetes_secret"}, "kept-in-kubernetes-secret"),
        ({"owner": Owner(pk=1, handle="ann", is_active=False)}, "owner-gone"),
        ({"algorithm": "DES"}, "algorithm-prohibited"),
        ({"algorithm": "3DES", "last_rotated_on": date(2020, 1, 1), "created_on": None}, "algorithm-legacy"),
        ({"algorithm": "ROT13"}, "algorithm-unknown"),
        ({"kind": "signing_key"}, "algorithm-unknown"),
        ({"algorithm": "3DES"}, "algorithm-not-for-new-keys"),
    ],
)
def test_each_thing_that_is_wrong_is_a_finding_of_its_own(changes, code):
    (finding,) = [finding for finding in found(whole(**changes)) if finding.code == code]
    assert finding.clause
    assert "…" not in finding.clause + finding.sentence + finding.mend
    assert finding.sentence.endswith(".")
    assert finding.mend.endswith(".")
    assert finding.severity == CATALOGUE[code].severity


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"last_rotated_on": None, "never_rotated": True}, "missing-rotated"),
        ({"created_on": None}, "age-unknown"),
        ({"environment": "test", "access": "none"}, "access-unknown"),
        ({"environment": "test", "created_on": date(2026, 10, 22)}, "access-unknown"),  # 30 days ago
        ({"storage_medium": "key_vault"}, "kept-in-source-control"),
        ({"kind": "bootstrap_secret", "storage_medium": "offline"}, "kept-in-forbidden-place"),
        ({"algorithm": ""}, "algorithm-unknown"),  # of a token
        ({"algorithm": "opaque", "kind": "hmac_key"}, "algorithm-unknown"),
        ({"algorithm": "AES-256-GCM", "size_bits": 256, "kind": "hmac_key"}, "algorithm-legacy"),
    ],
)
def test_what_is_in_order_is_no_finding(changes, absent):
    assert absent not in codes(whole(**changes))


def test_the_five_mandatory_facts_of_s4_come_first():
    empty = Key(name="x", kind="dek")
    assert [finding.clause for finding in mandatory_facts(empty)] == ["R209, S4 Key Management"] * 5
    assert [code.partition("-")[0] for code in codes(empty)[:5]] == ["missing"] * 5


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        ({}, True),
        ({"tenant": Tenant(pk=1)}, True),
        ({"integration": Integration(pk=1)}, True),
        ({"tenant": Tenant(pk=1), "integration": Integration(pk=1)}, False),
        ({"secret_name": "smtp"}, False),
    ],
)
def test_a_dek_says_what_it_protects(changes, is_found):
    assert ("dek-without-scope" in codes(whole(kind="dek", **changes))) == is_found
    assert "dek-without-scope" not in codes(kek(**changes))


def test_people_whom_an_import_is_about_to_register_count():
    """A plan holds owners that are not saved yet."""
    assert codes(whole(owner=Owner(handle="ann"), creator=Owner(handle="ann"), service=Service(name="x"))) == []


def test_a_certificate_needs_a_runbook():
    certificate = {"kind": "tls_certificate", "algorithm": "RSA-4096", "size_bits": 4096}
    assert codes(whole(**certificate)) == ["without-runbook"]
    assert codes(whole(**certificate, runbook_url="https://wiki.example/tls")) == []


@pytest.mark.parametrize("is_exportable", [None, False])
def test_only_a_kek_that_can_be_exported_is_found(is_exportable):
    assert codes(kek(is_exportable=True)) == ["exportable"]
    assert codes(kek(is_exportable=is_exportable)) == []
    assert codes(whole(is_exportable=True)) == []


@pytest.mark.parametrize(
    ("algorithm", "size_bits", "under", "is_found"),
    [
        ("RSA-2048", 2048, ("AES-256", 256), True),
        ("RSA-3072", 3072, ("AES-256", 256), True),
        ("RSA-3072", 3072, ("AES-128", 128), False),
        ("AES-256", 256, ("AES-256", 256), False),
        ("", None, ("AES-256", 256), False),  # nobody can tell; the unknown algorithm is a finding of its own
        ("RSA-2048", 2048, ("", None), False),
    ],
)
def test_a_kek_is_at_least_as_strong_as_its_deks(algorithm, size_bits, under, is_found):
    key = kek(algorithm=algorithm, size_bits=size_bits)
    deks = [Under("dek", *under, 1_200), Under("kek", "AES-256", 256, 1)]
    weak = [finding for finding in found(key, under=deks) if finding.code == "kek-weaker-than-deks"]
    assert bool(weak) == is_found
    if weak and algorithm == "RSA-2048":
        assert "At 112 bits of security it wraps 1,200 stronger DEK(s), of up to 256 bits." in weak[0].sentence


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "kek", "algorithm": "RSA-2048", "size_bits": 2048}, (112, 150, "R144, S2 Encryption Standards")),
        ({"kind": "kek", "algorithm": "RSA-4096", "size_bits": 4096}, None),
        ({"kind": "backup_key", "algorithm": "AES-128", "size_bits": 128}, (128, 256, "R41, S0 §9 Backup Encryption")),
        ({"kind": "hmac_key", "algorithm": "AES-128", "size_bits": 128}, None),  # no clause speaks of its strength
        ({"kind": "kek"}, None),  # nobody can tell
    ],
)
def test_a_key_is_as_strong_as_the_clauses_demand(changes, expected):
    weak = [finding for finding in found(whole(**changes)) if finding.code == "weaker-than-demanded"]
    said_of = [(one.facts["bits"], one.facts["least"], one.clause) for one in weak]
    assert said_of == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("algorithm", "size_bits", "bits"),
    [("RSA-2048", 2048, 112), ("RSA-3072", 3072, 128), ("RSA-4096", 4096, 150), ("RSA", 8192, 192),
     ("ECDSA P-256", 256, 128), ("AES-256", 256, 256), ("ROT13", None, None)],
)  # fmt: skip
def test_rsa_4096_is_the_150_bits_that_a_clause_means_by_it(algorithm, size_bits, bits):
    assert clause_strength(algorithm, size_bits) == bits


def test_every_clause_that_a_place_breaks_is_named_and_every_one_that_permits_it():
    (finding,) = [one for one in found(whole(storage_medium="environment_variable")) if one.code.startswith("kept")]
    assert finding.clause == "R22, S0 §5 Key Management; R208, S4 Key Management"
    assert "permitted by R139, S2 Key Storage; R186, S3 Key Management; all clauses hold" in finding.sentence


def test_without_clauses_nothing_is_demanded():
    key = kek(is_exportable=True, storage_medium="source_control")
    assert codes(key, demands=Demands([])) == []


def test_other_places_are_found_by_their_name():
    (finding,) = [one for one in found(kek(storage_medium="offline")) if one.code.startswith("kept")]
    assert (finding.code, finding.clause) == ("kept-in-forbidden-place", "R76, S1 §6.1 Key Generation")
    assert finding.sentence == "Kept in: offline medium."


def test_an_algorithm_is_found_on_the_day_on_which_it_falls():
    key = kek(
        algorithm="RSA-OAEP-256", size_bits=2048, created_on=date(2020, 1, 1), last_rotated_on=None, never_rotated=True
    )
    last = datetime(2030, 12, 31, 23, 59, tzinfo=UTC)
    assert "algorithm-legacy" not in codes(key, now=last)
    assert "algorithm-legacy" in codes(key, now=last + timedelta(minutes=1))


def test_an_algorithm_is_found_until_it_is_approved():
    key = whole(algorithm="Ed25519", created_on=date(2020, 1, 1), last_rotated_on=None, never_rotated=True)
    assert codes(key, now=datetime(2023, 2, 2, tzinfo=UTC)) == ["algorithm-not-yet"]
    assert codes(key, now=datetime(2023, 2, 3, tzinfo=UTC)) == []


def test_a_suspension_is_found_after_72_hours():
    key = whole(state="suspended")
    assert codes(key, suspended_at=NOW - 72 * HOUR) == []
    assert codes(key, suspended_at=NOW - 72 * HOUR - timedelta(seconds=1)) == ["suspended-too-long"]
    assert codes(whole(), suspended_at=NOW - 100 * HOUR) == []


def test_the_owner_is_gone_with_the_account():
    assert codes(whole(), is_owner_gone=True) == ["owner-gone"]
    assert codes(whole(owner=None), is_owner_gone=True) == ["missing-owner"]


def test_a_period_of_use_ends_while_the_key_is_in_use():
    key = whole()
    key.protect_until = NOW
    assert codes(key) == ["past-period-of-use"]
    assert codes(key, now=NOW - HOUR) == []


def test_a_deactivated_key_with_keys_under_it_is_found_after_its_period():
    key, under = kek(state="deactivated"), [Under("dek", "AES-256", 256, 3)]
    assert codes(key, under=under) == ["deactivated-but-referenced"]
    key.process_until = NOW + HOUR
    assert codes(key, under=under) == []
    assert codes(key, under=under, now=NOW + HOUR) == ["deactivated-but-referenced"]
    assert codes(kek(), under=under) == []


@pytest.mark.parametrize(
    ("own", "peer", "expected"),
    [
        (("production", "api_token"), ("production", "api_token"), []),
        (("production", "api_token"), ("test", "api_token"), ["reused-across-environments"]),
        (("production", "api_token"), ("", "api_token"), []),
        (("production", "api_token"), ("production", "backup_key"), ["backup-equals-production"]),
        (("production", "backup_key"), ("production", "api_token"), ["backup-equals-production"]),
        (("production", "backup_key"), ("production", "backup_key"), []),
    ],
)
def test_the_same_material_in_two_places_is_found(own, peer, expected):
    environment, kind = own
    key = whole(environment=environment, kind=kind, algorithm="opaque")
    assert codes(key, peers=[Peers(environment, kind, key.name), Peers(*peer, "other")]) == expected


@pytest.mark.parametrize("state", ["destroyed", "destroyed_compromised"])
def test_nothing_is_wrong_with_what_is_destroyed(state):
    assert codes(Key(name="x", kind="dek", state=state)) == []


def test_facts_are_put_in_and_never_read_as_a_template():
    assert said("{algorithm} of {keys}", {"algorithm": "{keys} {0}", "keys": 1200}) == "{keys} {0} of 1,200"
    assert said("{gone}", {}) == "…"


def test_a_code_of_another_version_says_so():
    assert "docs/findings.md" in definition("moved-elsewhere").mend


def test_every_code_stands_in_the_documentation():
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    for code in CATALOGUE:
        assert f"`{code}`" in text
