"""Check the whole audit log; exit 1 and name the first bad event when it is not what was written."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction
from django.utils import timezone

from audit import services, verification
from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.errors import AuditError
from audit.verification import Verdict


class Command(BaseCommand):
    help = (
        "Check the audit log: the chain over the stored bytes, then every searchable column, the subject index and the "
        "sealed identities against those bytes. Exits 1 and names the first bad event. The result becomes an event."
    )

    def handle(self, *_arguments: Any, **_options: Any) -> None:
        verdict = verification.verify()
        self._print(verdict)
        _record(verdict)
        if not verdict.is_whole:
            raise CommandError("The audit log is not what was written.", returncode=1)

    def _print(self, verdict: Verdict) -> None:
        for warning in verdict.warnings:
            self.stdout.write(f"warning: {warning}")
        for finding in verdict.findings:
            self.stdout.write(f"first bad: {finding}")
        self.stdout.write(f"chain: {verdict.events} events checked, head at event {verdict.end.number}")
        self.stdout.write(f"head digest: {verdict.end.digest.hex()}")
        if verdict.is_whole:
            self.stdout.write(f"copies: columns and {verdict.subjects} lines of the subject index agree with the bytes")
            self.stdout.write(f"identities: {verdict.identities} opened and as vouched for, {verdict.erased} erased")


def _record(verdict: Verdict) -> None:
    """Leave the result in the log, so that the first page can say when it was last found whole."""
    try:
        with transaction.atomic():
            services.record(
                Action.AUDIT_VERIFIED,
                actor=Actor.system("command:verify_audit"),
                now=timezone.now(),
                outcome=Outcome.DONE if verdict.is_whole else Outcome.FAILED,
                facts={
                    "events": verdict.events,
                    "head": verdict.end.number,
                    "digest": verdict.end.digest.hex(),
                    "findings": [str(finding) for finding in verdict.findings],
                    "warnings": len(verdict.warnings),
                },
            )
    except (AuditError, DatabaseError) as error:
        raise CommandError(f"The result could not be recorded: {error}", returncode=1) from error
