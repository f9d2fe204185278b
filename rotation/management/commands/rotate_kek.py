"""Ask for the rotation of a KEK, and show how far it is."""

import time
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from inventory.errors import InventoryError
from inventory.models import Kek
from rotation import approvals
from rotation.approvals.mails import page_of
from rotation.errors import NotAskingError, RotationError
from rotation.management.commands.census import kek_named
from rotation.models import LIVE_JOBS, LIVE_ORDERS, Order, Request, RequestState, RewrapJob
from rotation.requests import missing_steps

OPERATION = "kek.rotate"
LOOKS_EVERY_SECONDS = 1.0
_OVER = {RequestState.REJECTED, RequestState.WITHDRAWN, RequestState.EXPIRED, RequestState.VOID, RequestState.FAILED}


class Command(BaseCommand):
    help = (
        "Ask in nobody's name for a new version of a KEK: people vote on it, the worker rotates it in its store and "
        "brings its DEKs under the new version. Where a single vote is enough, a person has to ask, because whoever "
        "runs this could be who votes. With --request it asks for nothing and shows how far that request is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kek", help="name of the KEK, or its address (openbao:main/payments)")
        parser.add_argument("--reason", default="", help="why; kept in the audit log and shown to who votes")
        parser.add_argument("--request", type=int, help="follow this request instead of asking")
        parser.add_argument("--wait", type=int, default=0, metavar="SECONDS", help="show progress for so long")

    def handle(self, *args: Any, **options: Any) -> None:
        kek = kek_named(options["kek"])
        request = _known(options["request"], kek) if options["request"] else _asked(kek, options["reason"])
        self.stdout.write(f"Request {request.pk}: {request.title}\n{page_of(request)}")
        self._follow(request, options["wait"])

    def _follow(self, request: Request, seconds: int) -> None:
        """Print each change, until all is done or the time is over."""
        ends_at, said = time.monotonic() + seconds, ""
        while True:
            words, is_over = progress(request.pk)
            if words != said:
                self.stdout.write(words)
                said = words
            if is_over or time.monotonic() >= ends_at:
                return
            time.sleep(LOOKS_EVERY_SECONDS)


def progress(pk: int) -> tuple[str, bool]:
    """Say how far a rotation is, and whether it is over. Queries: at most 4. Raises: CommandError where it failed."""
    request = Request.objects.get(pk=pk)
    if request.state in _OVER:
        raise CommandError(f"Request {pk} is {request.get_state_display()}. {request.closed_because}".strip())
    if request.state != RequestState.EXECUTED:
        missing = " and ".join(f"{count} of {role}" for role, count in missing_steps(request).items())
        return f"waits for votes: {missing}" if missing else "approved; the worker carries it out", False
    order = Order.objects.get(request=request)
    if order.state in LIVE_ORDERS:
        return f"{order.ref} is {order.get_state_display()}. {order.closed_because}".strip(), False
    jobs = [_job(job) for job in RewrapJob.objects.filter(order=order).order_by("pk")]
    is_over = not RewrapJob.objects.filter(order=order, state__in=LIVE_JOBS).exists()
    return "\n".join([f"{order.ref} is {order.get_state_display()}. {order.closed_because}".strip(), *jobs]), is_over


def _job(job: RewrapJob) -> str:
    said = f"{job.ref} is {job.get_state_display()}: {job.rewrapped:,} of {job.total:,} DEKs"
    return f"{said}. {job.paused_because or job.closed_because}".rstrip(". ")


def _known(pk: int, kek: Kek) -> Request:
    found = Request.objects.filter(pk=pk, operation=OPERATION, subject_ref=kek.key.ref).first()
    if found is None:
        raise CommandError(f"Request {pk} is not about rotating {kek.key.name}.")
    return found


def _asked(kek: Kek, reason: str) -> Request:
    try:
        return approvals.ask(
            operation=OPERATION,
            parameters={"key": kek.pk},
            actor=Actor.system("command:rotate_kek"),
            reason=reason,
            now=timezone.now(),
        )
    except NotAskingError as error:
        raise CommandError(
            f"{error} One vote is enough for this here, so whoever runs a command could decide it alone: somebody of "
            "DevOps asks on the page of the KEK, and --request N follows it. The house can ask for two votes (Who "
            "decides what); then this command asks."
        ) from error
    except (RotationError, InventoryError) as error:
        raise CommandError(str(error)) from error
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
