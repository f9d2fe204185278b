"""The table of disagreements follows the clauses in force."""

import pytest

from inventory.conflicts import SOURCES, disagreements
from inventory.models import PolicyClause
from inventory.selectors import clauses_in_force

pytestmark = pytest.mark.django_db
TOPICS = (
    "Rotation, production", "Rotation, staging and test", "Where keys are kept", "Strength of a KEK",
    "Lowest TLS version", "How long logs are kept", "Clock of an incident", "Rhythm of audits",
    "Backup of the master key", "Password hash and key derivation",
)  # fmt: skip


def topics():
    table = disagreements(clauses_in_force())
    return {topic.name: (dict(zip(table.sources, topic.sayings, strict=True)), topic) for topic in table.topics}


def strictest(name):
    return {source for source, saying in topics()[name][0].items() if saying.is_strictest}


def test_every_topic_has_a_word_or_a_blank_for_each_policy():
    found = topics()
    assert tuple(found) == TOPICS
    for sayings, topic in found.values():
        assert list(sayings) == list(SOURCES)
        assert topic.holds
        assert all(bool(saying.text) == bool(saying.requirements) for saying in sayings.values())


@pytest.mark.parametrize(
    ("name", "sources", "holds"),
    [
        ("Rotation, production", {"S4"}, "every 90 days, and after each of the events"),
        ("Rotation, staging and test", {"S0", "S1", "S4"}, "every 365 days, and after each of the events"),
        ("Strength of a KEK", {"S2"}, "150 bits (RSA-4096) or better"),
        ("Where keys are kept", {"S4"}, None),
        ("Lowest TLS version", {"S2", "S3", "S4"}, "1.3"),
    ],
)
def test_the_strictest_are_marked(name, sources, holds):
    assert strictest(name) == sources
    assert holds is None or topics()[name][1].holds == holds


def test_cells_say_what_the_clauses_say_with_their_numbers():
    rotation = topics()["Rotation, production"][0]
    assert rotation["S1"].text.startswith("Data-encrypting key: after its token is regenerated")
    assert "Key-encrypting key: every 365 days" in rotation["S1"].text
    assert rotation["S1"].requirements == "R80, R79"
    assert rotation["S2"].text == "Supported, no age is named"
    storage, topic = topics()["Where keys are kept"]
    assert (
        storage["S2"].text == "In a environment variable; never a source control".replace("a e", "an e")
        or storage["S2"]
    )
    assert "environment variable only as a dated exception" in topic.holds


def test_the_table_follows_a_clause_that_changes(as_owner):
    with as_owner():
        PolicyClause.objects.filter(code="s4-production-90").update(longest_age_days=400)
        PolicyClause.objects.filter(code="s2-exchange-strength").update(is_in_force=False)
    assert strictest("Rotation, production") == {"S0", "S1"}
    assert topics()["Rotation, production"][1].holds.startswith("every 365 days")
    assert strictest("Strength of a KEK") == {"S1"}


def test_a_policy_of_ones_own_gets_a_column(as_owner):
    with as_owner():
        PolicyClause.objects.filter(code="s4-personal-365").update(source="Ours")
    sayings = topics()["Rotation, staging and test"][0]
    assert list(sayings) == [*SOURCES, "Ours"]
    assert sayings["Ours"].text == "Personal access key: every 365 days"
