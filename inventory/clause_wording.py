"""How a clause, what changed on it, and what that did to the keys read on a page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.db.models import TextChoices

from audit import sentences
from audit.selectors import ReadEvent
from inventory.effects import Effect
from inventory.finding_effects import SampledKey
from inventory.models import PolicyClause
from inventory.terms import Access, Classification, Environment, KeyKind, StorageMedium
from inventory.wording import Entry, Line

LABELS: Mapping[str, str] = {
    "code": "Short name",
    "source": "Policy",
    "document": "Document",
    "section": "Section",
    "requirement": "Requirement",
    "text": "In its own words",
    "kinds": "Kinds of keys",
    "environments": "Environments",
    "classifications": "Classes of data",
    "access": "Keys that open",
    "longest_age_days": "Longest age in days",
    "on_events": "Rotated at once after",
    "smallest_strength_bits": "Smallest strength in bits",
    "forbidden_media": "Never kept in",
    "allowed_media": "Expressly permitted in",
    "not_exportable": "Must not be exportable",
    "runbook_required": "Needs a runbook",
    "separate_per_environment": "Its own key in each environment",
    "separate_from_production": "Apart from every production key",
    "is_in_force": "In force",
    "level": "Threat level",
    "elevated_percent": "Left of an age when elevated, in percent",
    "high_percent": "Left of an age when high, in percent",
}
_CHOICES: Mapping[str, type[TextChoices]] = {
    "kinds": KeyKind,
    "environments": Environment,
    "classifications": Classification,
    "access": Access,
    "forbidden_media": StorageMedium,
    "allowed_media": StorageMedium,
}
_DEMANDS = {
    "not_exportable": "not exportable",
    "runbook_required": "a linked runbook",
    "separate_per_environment": "a key of its own in each environment",
    "separate_from_production": "apart from every production key",
}


def demands_of(clause: PolicyClause) -> list[str]:
    """Return in words what a clause demands, the age first, and what it expressly permits last. No queries."""
    said = [f"rotation every {clause.longest_age_days} days"] if clause.longest_age_days else []
    said += [f"after {event}" for event in clause.on_events]
    if clause.smallest_strength_bits:
        said.append(f"at least {clause.smallest_strength_bits} bits of strength")
    if clause.forbidden_media:
        said.append(f"never kept in: {words_of('forbidden_media', clause.forbidden_media)}")
    said += [words for name, words in _DEMANDS.items() if getattr(clause, name)]
    if clause.allowed_media:
        said.append(f"permits: {words_of('allowed_media', clause.allowed_media)}")
    return said


def scope_of(clause: PolicyClause) -> str:
    """Return in words of which keys a clause speaks. No queries."""
    access = [f"access to {Access(opened).label}" for opened in clause.access]
    named = (words_of(name, getattr(clause, name)) for name in ("kinds", "environments", "classifications"))
    return "; ".join(words for words in (*named, ", ".join(access)) if words) or "every key"


def words_of(name: str, said: Any) -> str:  # noqa: ANN401 - whatever a clause or the log holds
    """Return a fact of a clause, or of the threat level, in words; "" for what demands nothing."""
    if said in (None, "", [], (), False):
        return "no" if name == "is_in_force" and said is False else ""
    if said is True:
        return "yes"
    if isinstance(said, str):
        return said
    if not isinstance(said, Sequence):
        return str(said)
    labels = dict(_CHOICES[name].choices) if name in _CHOICES else {}
    every = name == "kinds" and len(said) > len(KeyKind) // 2
    if every:
        return "all but " + ", ".join(str(labels[kind]) for kind in KeyKind.values if kind not in said)
    return ", ".join(str(labels.get(one, one)) for one in said)


def changed_lines(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Line]:
    """Return what differs between two sets of facts, in the order of the form."""
    return [
        Line(label, words_of(name, before.get(name)), words_of(name, after.get(name)))
        for name, label in LABELS.items()
        if (name in before or name in after) and before.get(name) != after.get(name)
    ]


def history(events: Sequence[ReadEvent], ref: str) -> list[Entry]:
    """Return the events of a clause, or of the threat level, as its page tells them. No queries."""
    return [_entry(event, ref) for event in events]


def _entry(event: ReadEvent, ref: str) -> Entry:
    said = event.said
    own = next((subject for subject in said.subjects if subject.ref == ref), None) if said else None
    if said is None or own is None:
        return Entry(event=event, did=event.sentence.removeprefix(event.who).strip(), lines=(), is_first=False)
    did = sentences.sentence(replace(said, subjects=(own,)), event.who).removeprefix(event.who).strip()
    told = consequence_of(said.facts)
    lines = [line for line in changed_lines(own.before, own.after) if line.before or line.after]
    return Entry(event=event, did=f"{did}; {told}" if told else did, lines=lines, is_first=not own.before)


def consequence_of(facts: Mapping[str, Any]) -> str:
    """Return what the event of a change says that it did to the keys; "" for an event that says nothing of it."""
    if "keys_changed" not in facts:
        return ""
    told = [
        (facts["keys_became_late"], "became overdue"),
        (facts["keys_late_no_more"], "stopped being overdue"),
        (facts["keys_changed"], "got another date or clause"),
    ]
    said = [f"{_keys(int(number))} {words}" for number, words in told if number]
    # Events of before findings were counted do not say.
    opened, closed = (int(facts.get(f"findings_{how}", 0)) for how in ("opened", "closed"))
    said += [f"{_findings(number)} {how}" for number, how in ((opened, "opened"), (closed, "closed")) if number]
    return ", ".join(said) or "no key got another date"


def verb_of(effect: Effect, act: str) -> str:
    """Return what the button says that saving, or asking, does; `act` is "Save" or "Ask"."""
    late, no_more, changed = effect.shares.become_late, effect.shares.late_no_more, effect.changed
    if late:
        return f"{act}: {_keys(late)} {'becomes' if late == 1 else 'become'} overdue"
    if no_more:
        return f"{act}: {_keys(no_more)} {'is' if no_more == 1 else 'are'} overdue no more"
    if changed:
        return f"{act}: {_keys(changed)} {'gets' if changed == 1 else 'get'} another date"
    turned = turned_words(effect.findings.opens, effect.findings.closes)
    return f"{act}: {turned or 'no date moves'}"


def will_do(facts: Mapping[str, Any], owners: int) -> list[str]:
    """Say in sentences what a change that is asked for will do to the keys, out of the facts of its effect."""
    late, no_more, soon = (int(facts[f"keys_{name}"]) for name in ("became_late", "late_no_more", "became_due_soon"))
    whose = f", of {owners:,} owner{'' if owners == 1 else 's'}" if owners else ""
    said = []
    if late:
        said.append(f"{_keys(late)} {'becomes' if late == 1 else 'become'} overdue at once{whose}.")
    if no_more:
        said.append(f"{_keys(no_more)} {'is' if no_more == 1 else 'are'} overdue no more, without having been rotated.")
    if soon:
        said.append(f"{_keys(soon)} {'becomes' if soon == 1 else 'become'} due within 30 days.")
    less, more = int(facts["keys_with_less_time"]), int(facts["keys_with_more_time"])
    if less or more:
        said.append(f"{_keys(less)} in all {'gets' if less == 1 else 'get'} less time, {more:,} more time.")
    said = said or ["No key gets another date by it."]
    turned = turned_words(int(facts.get("findings_opened", 0)), int(facts.get("findings_closed", 0)))
    return [*said, f"{turned}."] if turned else said


def turned_words(opens: int, closes: int) -> str:
    """Say how many findings open and close; "" for none."""
    opening = f"{_findings(opens)} {'opens' if opens == 1 else 'open'}" if opens else ""
    closing = f"{_findings(closes)} {'closes' if closes == 1 else 'close'}" if closes else ""
    return " and ".join(words for words in (opening, closing) if words)


def named(keys: Sequence[SampledKey], count: int) -> list[tuple[str, int | None]]:
    """Return the keys that are named of so many, each with its id, and in the last place how many more there are."""
    more = count - len(keys)
    return [*((key.name, key.pk) for key in keys), *([(f"and {more:,} more", None)] if more > 0 else [])]


def _findings(count: int) -> str:
    return f"{count:,} finding" if count == 1 else f"{count:,} findings"


def _keys(count: int) -> str:
    return f"{count:,} key" if count == 1 else f"{count:,} keys"
