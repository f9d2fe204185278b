"""Say what is wrong with this installation, and how to mend it."""

import json
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from keyvault_admin.checks.report import LIVE, Line, report
from keyvault_admin.checks.rules import Group, State

WIDTH = 110
INDENT = " " * 21  # two spaces, the state, the id


class Command(BaseCommand):
    help = (
        "Check this installation: secrets, TLS, cookies, database, broker, mail, people. Each line has a permanent id; "
        "what is wrong says how to mend it. Asks the servers and changes nothing. Ends with 1 while something is wrong."
    )
    requires_system_checks = ()  # they are part of what it prints

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
        parser.add_argument("--strict", action="store_true", help="end with 1 for warnings too")
        parser.add_argument(
            "--skip",
            action="append",
            choices=sorted(LIVE),
            default=[],
            help="do not ask this server, for a process that cannot reach it; may be given more than once",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        lines = report(skip=options["skip"])
        counts = Counter(line.state for line in lines)
        if options["json"]:
            self.stdout.write(json.dumps(_summary(lines, counts), indent=2))
        else:
            self._print(lines, counts)
        if counts[State.WRONG] or (options["strict"] and counts[State.WARNING]):
            sys.exit(1)

    def _print(self, lines: Sequence[Line], counts: Counter[State]) -> None:
        where = ", on the embedded engines of this machine" if settings.IS_LOCAL else ""
        self.stdout.write(f"Keyvault Admin, looked at as {settings.ROLE}{where}")
        for group in Group:
            self.stdout.write(f"\n{group.value.capitalize()}")
            for line in lines:
                if line.group is group:
                    self._print_line(line)
        self.stdout.write(
            f"\n{counts[State.WRONG]} wrong, {counts[State.WARNING]} to be warned of, {counts[State.OK]} in order, "
            f"{counts[State.SKIPPED]} not looked at."
        )

    def _print_line(self, line: Line) -> None:
        style = {State.OK: self.style.SUCCESS, State.WARNING: self.style.WARNING, State.WRONG: self.style.ERROR}
        word = style.get(line.state, str)(f"{line.state.value:<8}")
        self.stdout.write(f"  {word} {line.id:<9} {_wrapped(line.answer.said).lstrip()}")
        if line.answer.mend:
            self.stdout.write(_wrapped(f"Mend: {line.answer.mend}"))


def _wrapped(text: str) -> str:
    """Wrap under the column of the sentences; addresses and names stay whole, so that they can be copied."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=INDENT,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(lines: Sequence[Line], counts: Counter[State]) -> dict[str, Any]:
    return {
        "well": not counts[State.WRONG],
        "counts": {state.value: counts[state] for state in State},
        "checks": [
            {
                "id": line.id,
                "group": line.group.value,
                "state": line.state.value,
                "said": line.answer.said,
                "mend": line.answer.mend,
            }
            for line in lines
        ],
    }
