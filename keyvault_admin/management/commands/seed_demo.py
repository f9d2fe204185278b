"""Fill an empty installation with people and keys to look at."""

import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import record
from inventory import services as inventory
from inventory.models import Key, Owner, Service
from inventory.states import State
from inventory.terms import Environment
from keyvault_admin.access import alone, totp
from keyvault_admin.access import services as access
from keyvault_admin.access.models import TotpDevice, User
from keyvault_admin.local import demo
from keyvault_admin.management.demo_people import acting
from keyvault_admin.own_keys import own_keys
from rotation import approvals, at_once, overdue, reviews

SECONDS_TO_TYPE = 10  # how long one enrolment may take on a busy machine
SUSPENDED = 3
ACTOR = Actor.system("command:seed_demo")


class Command(BaseCommand):
    help = (
        "Load the demo: ten people of five roles with passwords and second factors, and a few hundred keys. "
        "Only on the embedded engines, only while nobody and nothing is registered."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.IS_LOCAL:
            raise CommandError("The demo is for the embedded engines only: start them with `make demo`.")
        if User.objects.exists() or Key.objects.exists():
            raise CommandError(
                "Somebody or something is registered already; the demo goes into an empty database only."
            )
        now = timezone.now()
        with transaction.atomic():
            links = {person: self._register(person, now) for person in demo.PEOPLE}  # roles first, while one may
            passwords = {person.username: self._enrol(person, link, now) for person, link in links.items()}
            self._load_keys(now)
            self._register_own_keys(now)
            record(
                Action.DEMO_SEEDED, actor=ACTOR, now=now, facts={"people": len(passwords), "keys": Key.objects.count()}
            )
        with transaction.atomic():
            self._suspend_some(now)
            overdue.flag_overdue(actor=ACTOR, now=now)
            self._report_rotation(now)
            self._ask_for_keks(now)
        reviews.open_reviews(actor=ACTOR, now=timezone.now(), until_now=True)  # of what is in the log by now
        self._print(passwords, timezone.now())

    def _register(self, person: demo.DemoPerson, now: datetime) -> str:
        """Let one of the first people in; return the link with which they enrol."""
        link = alone.bootstrap_person(
            username=person.username,
            mail=person.mail,
            full_name=person.full_name,
            role=person.role,
            actor=ACTOR,
            now=now,
        )
        if link is None:
            raise CommandError(f"{person.username} is enrolled already.")
        return link

    def _enrol(self, person: demo.DemoPerson, link: str, now: datetime) -> str:
        """Go through the enrolment as they would; return their password.

        The code of the step before is used, so that the current one is left to sign in with; near the end of a step the
        current one, because the other would be too old in a moment.
        """
        begun = access.begin_enrolment(token=link.partition("#")[2], now=now).link
        user = begun.user
        password = secrets.token_urlsafe(12)
        moment = timezone.now()
        step = totp.step_at(moment) - (totp.seconds_left(moment) > SECONDS_TO_TYPE)
        code = totp.code_at(TotpDevice.objects.get(user=user).seed(), step)
        if access.complete_enrolment(link_id=begun.pk, code=code, password=password, actor=ACTOR, now=now) is None:
            raise CommandError(f"The code of {person.username} ran out while it was entered. Run the command again.")
        inventory.register_owner(handle=person.username, mail=person.mail, user_id=user.pk, actor=ACTOR, now=now)
        return password

    def _load_keys(self, now: datetime) -> None:
        content = demo.inventory_csv(now.date())
        plan = inventory.apply_import(
            content=content, file_name="demo-inventory.csv", actor=ACTOR, reason="demo", now=now - timedelta(minutes=1)
        )
        if plan.refused:
            raise CommandError(f"The demo inventory does not go in: {plan.refused[0].problem}")

    def _register_own_keys(self, now: datetime) -> None:
        house = inventory.House(
            owner=demo.KEEPER, team=demo.TEAM, environment=Environment.DEVELOPMENT, made_on=now.date()
        )
        inventory.register_own_keys(keys=own_keys(), house=house, actor=ACTOR, reason="demo", now=now)

    def _suspend_some(self, now: datetime) -> None:
        active = Key.objects.filter(state=State.ACTIVE, owner__isnull=True).order_by("name")
        for pk in list(active.values_list("pk", flat=True)[:SUSPENDED]):
            at_once.suspend(
                pk=pk, actor=ACTOR, reason="its owner has left; suspended until somebody answers for it", now=now
            )

    def _report_rotation(self, now: datetime) -> None:
        """Leave one change that waits for somebody of DevOps."""
        reporter = User.objects.get(username=demo.REPORTER)
        keys = Key.objects.filter(state=State.ACTIVE, owner__user=reporter).order_by("rotate_by")
        inventory.report_rotation(
            pk=keys.values_list("pk", flat=True)[0],
            rotated_on=now.date(),
            evidence="Replaced in the secrets manager, whose history shows the new version; change 4711.",
            url="https://ci.example.com/changes/4711",
            actor=acting(demo.REPORTER),
            now=now,
        )

    def _ask_for_keks(self, now: datetime) -> None:
        """Leave two KEKs that wait for Security, where there is a key store; seed_demo_keys goes on with the first."""
        owner, actor = Owner.objects.get(user__username=demo.KEEPER).ref, acting(demo.KEK_ASKER)
        for store, address in sorted(settings.KMS_STORES.items())[:1]:
            scheme = address.partition(":")[0]
            for name, service in demo.KEKS:
                about: dict[str, JSON] = {
                    "name": f"{name}/kek",
                    "owner": owner,
                    "creator": owner,
                    "environment": Environment.PRODUCTION,
                }
                facts: dict[str, JSON] = {**about, "service": Service.objects.get(name=service).ref}
                asked: dict[str, JSON] = {
                    "uri": f"{scheme}:{store}/{name}",
                    "algorithm": "AES-256-KW",
                    "takes_over": False,
                }
                approvals.ask(
                    operation="kek.create",
                    parameters={**asked, "facts": facts},
                    actor=actor,
                    reason="for the data keys of the tenants",
                    now=now,
                )

    def _print(self, passwords: dict[str, str], now: datetime) -> None:
        """Show the codes of the next half minute: good now already, and for as long as the rest takes to start."""
        self.stdout.write(f"{'name':8} {'role':12} {'password':18} code")
        for person in demo.PEOPLE:
            seed = TotpDevice.objects.get(user__username=person.username).seed()
            has_voted = settings.KMS_STORES and person.username == demo.KEK_VOTER  # by then; each code is good once
            code = "demo_code" if has_voted else totp.code_at(seed, totp.step_at(now) + totp.TOLERANCE_STEPS)
            self.stdout.write(f"{person.username:8} {person.role:12} {passwords[person.username]:18} {code}")
        self.stdout.write("")
        self.stdout.write(
            "A code is accepted once, and for a minute. The next one: .venv/bin/python manage.py demo_code alice"
        )
        self.stdout.write(
            "Try first, as alice: import tests/data/notion-inventory.csv, then look at what is overdue and why. "
            "As bob: approve the rotation that carol has reported. As both: judge and sign the review."
        )
        self.stdout.write(
            "Then key stores. The KEK of payments wraps 60 DEKs and was rotated: see its page, the job and its "
            "certificate. As alice: approve the KEK of identity that bob has asked for; the worker makes it. "
            "As carol: have a DEK made under Tenants and integrations. As bob: ask to rotate a KEK, and watch the job."
        )
