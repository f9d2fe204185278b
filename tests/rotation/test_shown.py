"""What somebody sees is what they sign (APP-06): the words of the page, the payload, and what is carried out.

For each guarded operation `shown_samples` makes requests; whoever declares one adds a line there. Each request is
looked at, voted through and carried out, with its `execute` replaced by one that writes down what it is given: what
the operation does with it is the matter of its own tests.
"""

import json
import re
from dataclasses import asdict, replace
from datetime import timedelta
from hashlib import sha256
from html.parser import HTMLParser
from itertools import chain

import pytest
from django.db import connection
from django.utils import timezone

from audit import canonical
from rotation import approvals
from rotation.approval_wording import described
from rotation.at_once import show_glass
from rotation.models import Request, RequestState
from rotation.operations import _OPERATIONS, operations
from rotation.operations.base import Target
from rotation.rehearsals import rehearse
from tests.conftest import make_person
from tests.inventory.world import make_key
from tests.people import give_device, sign_in
from tests.rotation.approval_world import actor_for, ask
from tests.rotation.inbox_world import THING, asked, execute, thing
from tests.rotation.request_world import voted
from tests.rotation.shown_samples import SAMPLES, World

pytestmark = pytest.mark.django_db
LEAST = 40  # payloads


class _Section(HTMLParser):
    """Collects the words of the element with an id, and apart from them those of its <pre>."""

    VOID = {"br", "input", "img", "meta", "link", "progress"}

    def __init__(self, name):
        super().__init__()
        self.name, self.depth, self.words, self.pre, self._is_pre = name, 0, [], "", False

    def handle_starttag(self, tag, attrs):
        if tag in self.VOID:
            self.words.append(" ")
        elif self.depth or dict(attrs).get("id") == self.name:
            self.depth += 1
            self._is_pre = self._is_pre or tag == "pre"

    def handle_endtag(self, tag):
        if self.depth and tag not in self.VOID:
            self.depth -= 1
            self._is_pre = self._is_pre and tag != "pre"
            self.words.append(" ")

    def handle_data(self, text):
        if self._is_pre:
            self.pre += text
        elif self.depth:
            self.words.append(text)


def shown_on(answer):
    """Return the words of what will happen as a person reads them, and the bytes shown on demand."""
    section = _Section("what")
    section.feed(answer.content.decode())
    return one_line("".join(section.words)), section.pre


def one_line(text):
    return " ".join(text.split())


def said_by(payload):
    """Return what a page must say of a payload, and no more."""
    said = _OPERATIONS[payload.operation].describe(payload)
    changing = [line for line in said.lines if line.before not in {"", line.text}]
    words = ["What will happen", *said.sentences]
    if changing:
        words += ["Fact Before After", *(f"{line.label} {line.before} {line.text or '—'}" for line in changing)]
    words += [
        f"{line.label} {line.text} {', '.join(one.text + ' ' * bool(one.url) for one in line.links)}"
        for line in said.lines
        if line not in changing
    ]
    words += [f"Why “{payload.reason}”", "Acts on" if len(payload.targets) == 1 else "Act on"]
    words += [f"and on {one.label} revision {one.revision}" for one in payload.targets]
    raw = canonical.canonical(asdict(payload))
    digest = sha256(raw).hexdigest()
    words += [f"Digest {digest[:4]} {digest[4:8]} {digest[8:12]} …", EXPLAINED, digest]
    text = one_line(" ".join(words)).replace("on and on", "on", 1)
    return text.replace("\u202e", "⟦U+202E⟧").replace("\u2066", "⟦U+2066⟧"), raw.decode()


EXPLAINED = (
    "A vote is on exactly this: the SHA-256 of the text below, in the form of RFC 8785. What stands above is made from "
    "it, and it is what is carried out."
)


def carry_out(request, voters, as_role):
    """Vote it through and have the worker carry it out; return the payload that it was carried out by."""
    given = []
    known = _OPERATIONS[request.operation]
    _OPERATIONS[request.operation] = replace(known, at_machine=False, execute=lambda payload, *_: given.append(payload))
    try:
        for role, people in voters.items():
            wanted = sum(step["count"] for step in json.loads(bytes(request.payload))["steps"] if step["role"] == role)
            for person in people[:wanted]:
                voted(request, person, role)
        now = timezone.now()
        Request.objects.filter(pk=request.pk).update(state=RequestState.APPROVED, approved_at=now, next_attempt_at=now)
        execute(request, as_role)
    finally:
        _OPERATIONS[request.operation] = known
    (payload,) = given
    return payload


def only_names_of_owners(execute, sql, *rest):
    """Let a description look up who owns a key, whom the payload names by number, and nothing else."""
    assert re.findall(r'(?:FROM|JOIN) "(\w+)"', sql) == ["inventory_owner"], sql
    return execute(sql, *rest)


def test_what_is_shown_is_what_is_carried_out(client, dave, as_role):
    with thing() as made:
        world = World(made)
        lacking = {operation.code for operation in operations()} - SAMPLES.keys()
        assert not lacking, f"give them a line in SAMPLES: {sorted(lacking)}"
        names = {"Security": ("ava", "ben"), "DevOps": ("cleo",), "Management": ("mo",), "Engineering": ()}
        voters = {role: [make_person(name, role) for name in people] for role, people in names.items()}
        for person in chain.from_iterable(voters.values()):
            give_device(person)
        sign_in(client, dave)
        seen = set()
        for operation in operations():
            for request in SAMPLES[operation.code](world):
                words, raw = shown_on(client.get(f"/rotation/request/{request.pk}/change/"))
                payload = carry_out(request, voters, as_role)
                with connection.execute_wrapper(only_names_of_owners):
                    assert (words, raw) == said_by(payload), operation.code
                assert raw.encode() == bytes(request.payload)
                seen.add((operation.code, words))
        assert len(seen) >= LEAST


def test_another_payload_reads_otherwise(client, dave):
    """No part of a payload is left out of what is shown: whatever changes in it changes the page."""
    with thing() as made:
        sign_in(client, dave)
        world = World(made)
        base = {"targets": (Target(ref="thing:1", label="thing 1", revision=1),), "reason": "a", "nonce": "0" * 32}
        base |= {"facts": {"colour": "blue"}, "parameters": {"number": 1}, "now": timezone.now()}
        changes = [
            {},
            {"reason": "b"},
            {"facts": {"colour": "green"}},
            {"facts": {"colour": "blue", "before": "white"}},
            {"parameters": {"number": 2}},
            {"targets": (Target(ref="thing:1", label="thing 2", revision=1),)},
            {"targets": (Target(ref="thing:1", label="thing 1", revision=2),)},
            {"targets": (Target(ref="thing:2", label="thing 1", revision=1),)},
            {"excluded": ("user:999",)},
            {"nonce": "1" * 32},
            {"lasting": timedelta(hours=21)},
        ]
        pages = set()
        for change in changes:
            request = asked(THING, world.devops, **base | change)
            pages.add(shown_on(client.get(f"/rotation/request/{request.pk}/change/")))
            Request.objects.filter(pk=request.pk).update(state=RequestState.WITHDRAWN, closed_at=timezone.now())
        assert len(pages) == len(changes)


def test_the_words_stay_when_the_record_changes(client, dave):
    """They come from the payload, not from the record: nobody can rename a key under a vote."""
    key = make_key(name="crm-sync/partner-sftp")
    with thing():
        request = ask(make_person("deb", "DevOps"), key, note="new")
        sign_in(client, dave)
        before = shown_on(client.get(f"/rotation/request/{request.pk}/change/"))
        key.name, key.notes, key.revision = "harmless", "otherwise", key.revision + 1
        key.save(update_fields=["name", "notes", "revision"])
        assert shown_on(client.get(f"/rotation/request/{request.pk}/change/")) == before
        assert re.search("Overtaken", client.get(f"/rotation/request/{request.pk}/change/").content.decode())


def test_whoever_asks_or_breaks_the_glass_is_shown_the_same(any_db):
    """Nobody turns the reading order round on the pages before the vote either."""
    key, who = make_key(name="crm/\u202eexe.sftp"), make_person("sam", "Security")
    give_device(who)
    said, now = {"key": key.pk, "reason_code": "superseded"}, timezone.now()
    asking = rehearse(operation="key.revoke", parameters=said, actor=actor_for(who), reason="because", now=now)
    glass = show_glass(operation="key.revoke", entered=said, actor=actor_for(who), now=now)
    request = approvals.ask(operation="key.revoke", parameters=said, actor=actor_for(who), reason="because", now=now)
    decided = described(approvals.payload_of(request))
    assert asking.description == glass.description == decided
    assert "⟦U+202E⟧exe" in decided.title
