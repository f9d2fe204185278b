"""The census: which version of a KEK still wraps what, and what else needs it."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inventory.models import Kek
from rotation.census import Counted, KekCensus, census


class Command(BaseCommand):
    help = (
        "Print for each KEK, or for one, how many DEKs each of its versions wraps, which copies were handed out, what "
        "holds it, and what sources elsewhere said when they were counted last. Reads only, and asks no key store."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kek", nargs="?", help="name of the KEK, or its address (openbao:main/payments)")
        parser.add_argument("--json", action="store_true", help="one JSON object for each version, a line each")

    def handle(self, *args: Any, **options: Any) -> None:
        found = census(None if options["kek"] is None else [kek_named(options["kek"]).pk])
        if not found:
            self.stderr.write("There is no KEK yet. Ask to make one, or to take one over.")
        for one in found:
            if options["json"]:
                for counted in one.versions:
                    self.stdout.write(json.dumps(_plain(one, counted), ensure_ascii=False))
            else:
                self._print(one)

    def _print(self, one: KekCensus) -> None:
        self.stdout.write(f"{one.kek.key.name}  {one.kek.uri}  {one.kek.algorithm}")
        for counted in one.versions:
            self.stdout.write("  " + "  ".join(_words(counted)))
        self.stdout.write(f"  {one.deks:,} DEKs, {one.under_old:,} of them not under the primary version")


def kek_named(text: str) -> Kek:
    """Return a KEK by name or address. Raises: CommandError."""
    rows = Kek.objects.select_related("key")
    found = rows.filter(uri=text).first() or rows.filter(key__name=text).first()
    if found is None:
        raise CommandError(f"No KEK is called {text}. The command census lists all.")
    return found


def _words(counted: Counted) -> list[str]:
    version = counted.version
    marks = ["primary" if counted.is_primary else "", "closed" if version.closed_at else "", version.status]
    words = [f"v{version.version.number} ({version.store_id})", version.version.state]
    words += [", ".join(mark for mark in marks if mark), f"{counted.need.deks:,} DEKs"]
    words += [said for said in counted.need.said if "under it" not in said]
    for one in counted.elsewhere:
        when = f"counted {one.counted_at:%Y-%m-%d %H:%M} UTC" if one.counted_at else "never counted"
        words.append(f"{one.source}: {one.deks:,} ({when}{f', {one.trouble}' if one.trouble else ''})")
    if version.death:
        words.append(version.death)
    return words


def _plain(one: KekCensus, counted: Counted) -> dict[str, Any]:
    version = counted.version
    return {
        "kek": one.kek.key.name,
        "uri": one.kek.uri,
        "version": version.version.number,
        "id": version.store_id,
        "state": version.version.state,
        "status": version.status,
        "status_at": version.status_at.isoformat(),
        "is_primary": counted.is_primary,
        "is_closed": version.closed_at is not None,
        "deks": counted.need.deks,
        "handed_out": counted.need.hand_outs,
        "holds": list(counted.need.holds),
        "elsewhere": [
            {
                "source": each.source,
                "deks": each.deks,
                "counted_at": each.counted_at.isoformat() if each.counted_at else None,
                "trouble": each.trouble,
            }
            for each in counted.elsewhere
        ],
        "death": version.death,
    }
