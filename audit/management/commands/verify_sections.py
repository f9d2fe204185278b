"""Check sections of the audit log for `verify_audit`, which starts this on each core and tells it what to check."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from audit.verification import helpers


class Command(BaseCommand):
    help = "A helper of verify_audit, which starts it; not for people."
    requires_system_checks: list[str] = []

    def handle(self, *_arguments: Any, **_options: Any) -> None:
        helpers.serve(sys.stdin, sys.stdout)
