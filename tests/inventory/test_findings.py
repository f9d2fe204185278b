"""What is missing on a record is said with its clause and its mend."""

from datetime import date

import pytest

from inventory.findings import findings, mandatory_facts
from inventory.models import Integration, Key, Owner, Service, Tenant

WHOLE = {
    "name": "billing/stripe",
    "kind": "api_token",
    "environment": "production",
    "created_on": date(2026, 1, 10),
    "last_rotated_on": date(2026, 7, 13),
}


def whole(**changes):
    people = {"creator": Owner(pk=1), "owner": Owner(pk=1), "service": Service(pk=1)}
    return Key(**(WHOLE | people | changes))


def codes(key):
    return [finding.code for finding in findings(key)]


def test_a_whole_record_has_no_findings():
    assert findings(whole()) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"creator": None}, "missing-creator"),
        ({"service": None}, "missing-service"),
        ({"created_on": None}, "missing-created"),
        ({"last_rotated_on": None}, "missing-rotated"),
        ({"owner": None}, "missing-owner"),
        ({"environment": ""}, "missing-environment"),
    ],
)
def test_each_missing_fact_is_a_finding_of_its_own(changes, code):
    (finding,) = findings(whole(**changes))
    assert finding.code == code
    assert finding.clause.startswith("R")
    assert finding.sentence.endswith(".")
    assert finding.mend.endswith(".")


def test_never_rotated_is_an_answer():
    assert findings(whole(last_rotated_on=None, never_rotated=True)) == []


def test_the_five_mandatory_facts_of_s4_come_first():
    assert [finding.clause for finding in mandatory_facts(Key(name="x", kind="dek"))] == ["R209, S4 Key Management"] * 5
    assert codes(Key(name="x", kind="dek"))[-1] == "dek-without-scope"


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
    assert codes(whole(kind="kek", **changes)) == []


def test_people_whom_an_import_is_about_to_register_count():
    """A plan holds owners that are not saved yet."""
    key = whole(owner=Owner(handle="ann"), creator=Owner(handle="ann"), service=Service(name="x"))
    assert findings(key) == []
