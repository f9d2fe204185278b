"""Write the inventory into a file."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import SuspiciousOperation
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.test import RequestFactory
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from inventory.errors import InventoryError
from inventory.exporting import MEDIA_TYPES
from inventory.models import Key
from inventory.services import export_keys


class Command(BaseCommand):
    help = (
        "Export the inventory as CSV, XLSX or JSON. A filter is what stands in the address of the list after it was "
        "filtered there: --filter due=overdue --filter environment__exact=production --filter q=stripe."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=sorted(MEDIA_TYPES), default="csv", dest="file_format")
        parser.add_argument("--filter", action="append", default=[], metavar="NAME=VALUE", dest="filters")
        parser.add_argument("--output", type=Path, help="a file that does not exist yet (default: standard output)")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = self._chosen(options["filters"])
        actor = Actor.system("command:export_inventory")
        with ExitStack() as opened:
            target = self._target(options["output"], opened)
            try:
                pieces = export_keys(
                    keys=chosen.queryset,
                    chosen=chosen.params,
                    file_format=options["file_format"],
                    actor=actor,
                    now=timezone.now(),
                )
                for piece in pieces:
                    target.write(piece)
            except (InventoryError, AuditError) as error:
                raise CommandError(str(error)) from error

    def _chosen(self, filters: list[str]) -> Any:
        """Return the list as the admin shows it under these filters."""
        pairs = [text.partition("=") for text in filters]
        if unclear := [text for text, (_, sign, _) in zip(filters, pairs, strict=True) if not sign]:
            raise CommandError(f"--filter takes NAME=VALUE, not {unclear[0]}.")
        request = RequestFactory().get(f"/?{urlencode([(name, value) for name, _, value in pairs])}")
        request.user = AnonymousUser()
        try:
            return admin.site.get_model_admin(Key).get_changelist_instance(request)
        except (IncorrectLookupParameters, SuspiciousOperation) as error:
            raise CommandError(f"The list has no such filter: {', '.join(filters)}.") from error

    def _target(self, path: Path | None, opened: ExitStack) -> Any:
        if path is None:
            return sys.stdout.buffer
        try:
            return opened.enter_context(path.open("xb"))
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
