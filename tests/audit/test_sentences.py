"""Every action has its words, and every outcome."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from audit.actions import Action, Outcome
from audit.body import Body, Subject
from audit.sentences import PHRASES, Change, changes, sentence


def said(action: str, outcome: str = "done", *labels: str) -> Body:
    return Body(
        id=UUID(int=1), action=action, outcome=outcome, at=datetime(2026, 11, 21, tzinfo=UTC), actor_kind="person",
        actor_id="user:1", actor_role="", on_behalf_of="", verified_by="", verified_at="", identity_digest="", path="",
        reason="", subjects=tuple(Subject(ref=f"key:{label}", label=label) for label in labels), facts={},
    )  # fmt: skip


def test_every_action_has_its_words() -> None:
    assert set(PHRASES) == set(Action)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_sentence_begins_with_who_and_leaves_no_place_open(action: Action, outcome: Outcome) -> None:
    words = sentence(said(action, outcome, "stripe"), "Bob")
    assert words.startswith("Bob ")
    assert "{" not in words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (said("key.suspended", "done", "stripe"), "Bob suspended stripe"),
        (said("key.suspended", "refused", "stripe"), "Bob tried to suspend stripe and was refused"),
        (said("key.destroyed", "failed", "a", "b"), "Bob tried to destroy a and b and failed"),
        (said("key.imported", "done", "a", "b", "c", "d"), "Bob imported a, b and 2 more"),
        (said("key.renamed", "done", "a"), "Bob did key.renamed on a"),
        (said("session.opened"), "Bob signed in"),
        (said("audit.verified", "failed"), "Bob verified the log and found it altered"),
    ],
)
def test_sentence_says_what_happened(body: Body, words: str) -> None:
    assert sentence(body, "Bob") == words


def test_sentence_takes_braces_in_names_as_they_are() -> None:
    assert sentence(said("key.edited", "done", "{who.__class__}"), "{subjects}") == "{subjects} edited {who.__class__}"


def test_changes_pairs_what_was_with_what_is() -> None:
    subject = Subject(ref="key:1", before={"owner": None, "days": 90}, after={"owner": "carol", "new_field": ["a"]})
    assert changes(subject) == [
        Change("days", "90", None),
        Change("new field", None, '["a"]'),
        Change("owner", None, "carol"),
    ]


def test_a_request_is_told_with_what_it_is_about() -> None:
    def told(*subjects: Subject) -> str:
        return sentence(replace(said("request.opened"), subjects=subjects), "Bob")

    request = Subject(ref="request:7", label="Revoke a key")
    assert told(request) == "Bob asked for “Revoke a key”"
    assert told(request, Subject(ref="key:1", label="stripe")) == "Bob asked for “Revoke a key” on stripe"
    many = [Subject(ref=f"request:{number}", label="Edit a key") for number in range(12)]
    assert told(*many, Subject(ref="key:1")) == "Bob asked for 12 times “Edit a key”"
