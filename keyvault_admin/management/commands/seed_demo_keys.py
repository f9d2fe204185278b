"""Have the people and the worker of the demo make a KEK and DEKs, rotate and re-wrap: a turn of each in turn."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from audit.actor import Actor
from audit.canonical import JSON
from inventory.models import Integration, Kek, KekVersion, Key, Owner, Service, Tenant
from inventory.services import deks
from inventory.services.deks.making import NewDek, write_deks
from inventory.services.deks.taking import registered_by_name
from inventory.terms import Environment, KeyKind
from keyvault_admin.access.models import User
from keyvault_admin.local import demo
from keyvault_admin.management.demo_people import acting, fresh_code
from rotation import approvals, orders, rewrap
from rotation.approvals import Proof
from rotation.models import LIVE_JOBS, Act, Order, OrderState, Request, RequestState, RewrapJob

WORKER = Actor.system(approvals.WORKER)
A_MOMENT = timedelta(seconds=1)
LOOKS = 3  # of an order at its store, at most: one acts, two see it
REWRAP_SECONDS = 30


class Command(BaseCommand):
    help = (
        "Go on with the KEKs of the demo. As web (KEYVAULT_ROLE=web) its people ask and vote; as the worker, which "
        "alone holds the master key, what they decided is carried out. `make demo` runs it; embedded engines only."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Take the next turn. The time of the business goes on from what was done last: no look is waited for."""
        if not settings.IS_LOCAL or not User.objects.filter(username=demo.KEK_VOTER).exists():
            raise CommandError("This goes on with the demo of the embedded engines: start it with `make demo`.")
        turns = {"web": self._people_decide, "worker": self._worker_works}
        if settings.ROLE not in turns:
            raise CommandError("Say whose turn it is: KEYVAULT_ROLE=web or KEYVAULT_ROLE=worker.")
        self._now = _last_moment()
        turns[settings.ROLE]()

    def _later(self, by: timedelta = A_MOMENT) -> datetime:
        self._now += by
        return self._now

    def _running(self) -> Callable[[], datetime]:
        """Return a clock that goes on from now as fast as the real one, so that a job says how long it took."""
        base, began = self._later(), time.monotonic()
        return lambda: base + timedelta(seconds=time.monotonic() - began)

    # What people decide

    def _people_decide(self) -> None:
        """Vote for the first KEK; once there is one, ask for its rotation and vote for that."""
        kek = _kek()
        if kek is None:
            made = Request.objects.filter(operation=Act.CREATE, state=RequestState.OPEN, title__contains=demo.KEK)
            self._vote(made.get())
        elif kek.key.current_number == 1:
            asked = approvals.ask(
                operation=Act.ROTATE.value,
                parameters={"key": kek.pk},
                actor=acting(demo.KEK_ASKER),
                reason="the yearly rotation",
                now=self._later(),
            )
            self._vote(asked)

    def _vote(self, request: Request) -> None:
        approvals.vote(
            pk=request.pk,
            digest=bytes(request.digest),
            approves=True,
            proof=Proof(code=fresh_code(demo.KEK_VOTER)),
            actor=acting(demo.KEK_VOTER),
            now=self._later(),
        )

    # What the worker does

    def _worker_works(self) -> None:
        approved = Request.objects.filter(state=RequestState.APPROVED, operation__in=[Act.CREATE, Act.ROTATE])
        for pk in list(approved.order_by("pk").values_list("pk", flat=True)):
            approvals.carry_out(pk=pk, actor=WORKER, now=self._later())
            for order in Order.objects.filter(request=pk):
                self._carry_out(order)
        for job in RewrapJob.objects.filter(state__in=LIVE_JOBS):
            rewrap.work(pk=job.pk, actor=WORKER, clock=self._running(), seconds=REWRAP_SECONDS)
        self._now = max(self._now, _last_moment())
        kek = _kek()
        if kek is None:
            raise CommandError(f"The KEK {demo.KEK} was not made. Look at the orders to stores.")
        self._make_deks(kek)

    def _carry_out(self, order: Order) -> None:
        """Bring an order to its end. Raises: CommandError with what stands in its way."""
        for _ in range(LOOKS):
            order = orders.carry_out(pk=order.pk, actor=WORKER, now=self._later(orders.LOOKS_APART + A_MOMENT))
            if order.state == OrderState.DONE:
                return
        raise CommandError(f"{order.ref} is {order.state}: {order.closed_because}")

    def _make_deks(self, kek: Kek) -> None:
        """Make the DEKs of this turn: of a new KEK most of them, and one is handed out; of a rotated one some more."""
        integrations = demo.INTEGRATIONS[:-1] if kek.key.current_number == 1 else demo.INTEGRATIONS[-1:]
        asker, now = acting(demo.DEK_ASKER), self._later()
        with transaction.atomic():
            by_tenant = registered_by_name(Tenant, set(demo.TENANTS), asker, now)
            by_name = registered_by_name(Integration, set(integrations), asker, now)
        owner = Owner.objects.get(user__username=demo.DEK_ASKER)
        about: dict[str, JSON] = {"kek": kek.pk, "owner": owner.ref, "environment": Environment.PRODUCTION.value}
        asked: list[dict[str, JSON]] = [
            {**about, "tenant": f"tenant:{by_tenant[tenant].pk}", "integration": f"integration:{by_name[name].pk}"}
            for tenant in demo.TENANTS
            for name in integrations
        ]
        if kek.key.current_number > 1:
            for parameters in asked:
                self._make_dek(parameters, asker)
        else:
            self._make_together(asked, asker)
            self._hand_out(f"dek/{demo.TENANTS[0]}/{integrations[0]}", asker)

    def _make_together(self, asked: Sequence[Mapping[str, JSON]], asker: Actor) -> None:
        """Make many DEKs of one KEK in one transaction: an order for each would take three times as long."""
        now, new = self._now, []
        for parameters in asked:
            facts = deks.facts_from(parameters, now=now)
            deks.check_new_dek(facts, now)
            drawn = deks.draw_dek(kek=int(str(parameters["kek"])), now=now)
            version = KekVersion.objects.select_related("version__key", "kek").get(pk=drawn.kek_version)
            key = Key(pk=drawn.key, **facts)
            new.append(NewDek(key=key, kek_version=version, wrapped=drawn.wrapped, binding=drawn.binding))
        actor = replace(WORKER, on_behalf_of=asker.id)
        write_deks(new=new, imported=False, actor=actor, reason="a tenant uses an integration", now=now)

    def _make_dek(self, parameters: dict[str, JSON], asker: Actor) -> None:
        now = self._now
        with transaction.atomic():
            deks.check_new_dek(deks.facts_from(parameters, now=now), now)
            order = orders.open_order(
                act=Act.NEW_DEK,
                key=None,
                parameters=parameters,
                permit=None,
                actor=asker,
                reason="a tenant uses an integration",
                now=now,
            )
        order = orders.carry_out(pk=order.pk, actor=WORKER, now=now)
        if order.state != OrderState.DONE:
            raise CommandError(f"{order.ref} is {order.state}: {order.closed_because}")

    def _hand_out(self, name: str, asker: Actor) -> None:
        deks.hand_out(
            dek=Key.objects.get(name=name, kind=KeyKind.DEK).pk,
            service=Service.objects.get(name=demo.DEK_USER),
            number=None,
            actor=asker,
            reason="its first start",
            now=self._later(),
        )


def _kek() -> Kek | None:
    return Kek.objects.filter(key__name=demo.KEK).select_related("key").first()


def _last_moment() -> datetime:
    """Return when the last thing was done that this goes on from."""
    found = [
        Request.objects.aggregate(at=Max("requested_at"))["at"],
        Request.objects.aggregate(at=Max("approved_at"))["at"],
        Order.objects.aggregate(at=Max("closed_at"))["at"],
        RewrapJob.objects.aggregate(at=Max("closed_at"))["at"],
    ]
    return max((at for at in found if at), default=timezone.now())
