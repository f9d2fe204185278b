"""The whole report: every check once, in groups; a server that does not answer is asked once and no more."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from keyvault_admin.checks import (
    SETTINGS_RULES,
    checkpoints,
    database,
    djangos,
    house,
    people,
    replay,
    retention,
    servers,
)
from keyvault_admin.checks.bounds import FAILURES, words_of
from keyvault_admin.checks.rules import Answer, Group, Rule, State

# What is asked, by the server that must answer it; the first check of each says whether it answers at all.
DATABASE, BROKER, MAIL = Group.DATABASE.value, Group.BROKER.value, Group.MAIL.value
LIVE: dict[str, tuple[Rule, ...]] = {
    DATABASE: (*database.LIVE, *checkpoints.LIVE, *replay.LIVE, *retention.LIVE, *people.LIVE),
    BROKER: servers.BROKER,
    MAIL: servers.MAIL,
}
RESOLVER = house.LIVE
EVERY_RULE = (*SETTINGS_RULES, *RESOLVER, *(rule for rules in LIVE.values() for rule in rules))
TRY_IT = "See that it runs and can be reached from here, and that its address and password in the settings are right."


class Line(NamedTuple):
    """One line of the report."""

    id: str
    group: Group
    state: State
    answer: Answer


def report(*, skip: Collection[str] = ()) -> list[Line]:
    """Look at everything but the servers named in SKIP, and return a line for each check in the order of the groups."""
    lines = [_line(rule) for rule in (*SETTINGS_RULES, *RESOLVER)]
    for server, rules in LIVE.items():
        if server in skip:
            lines += [
                Line(rule.id, rule.group, State.SKIPPED, Answer(f"Not asked whether {rule.title} (--skip {server})."))
                for rule in rules
            ]
        else:
            with database.asked_briefly():
                lines += _asked(rules)
    lines += [Line(name, Group.DJANGO, state, answer) for name, state, answer in djangos.messages()]
    order = list(Group)
    return sorted(lines, key=lambda line: order.index(line.group))


def _line(rule: Rule) -> Line:
    """Look once; what cannot be looked at is wrong, whatever the id says: nobody knows that it is well."""
    try:
        answer = rule.look()
    except FAILURES as error:
        said = f"It could not be seen whether {rule.title}: {words_of(error)}"
        return Line(rule.id, rule.group, State.WRONG, Answer(said, TRY_IT))
    return Line(rule.id, rule.group, rule.state(answer), answer)


def _asked(rules: tuple[Rule, ...]) -> Iterator[Line]:
    """Ask one server; when its first answer is bad, the rest would only wait for the same."""
    first, *others = rules
    line = _line(first)
    yield line
    for rule in others:
        if line.state is State.WRONG:
            said = f"It could not be seen whether {rule.title}, because of {first.id}."
            yield Line(rule.id, rule.group, State.WRONG, Answer(said, f"Mend {first.id} first."))
        else:
            yield _line(rule)
