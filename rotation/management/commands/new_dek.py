"""Make a DEK for one integration of one tenant, or for one secret."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from inventory.models import Integration, Tenant
from inventory.services import deks
from inventory.services.deks.taking import registered_by_name
from rotation.management.wrapped import add_facts, facts_in, kek_of, need_worker, plainly

ACTOR = Actor.system("command:new_dek")


class Command(BaseCommand):
    help = (
        "Make a DEK: 256 bits are drawn, wrapped by the KEK, opened again to be sure, and registered wrapped. The "
        "DEK in clear is shown to nobody; hand_out_dek gives a service the wrapped one. As the worker "
        "(KEYVAULT_ROLE=worker)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--kek", required=True, help="URI of the KEK, or the name of its record")
        parser.add_argument("--tenant", default="")
        parser.add_argument("--integration", default="")
        parser.add_argument("--secret", default="", help="name of the secret, instead of tenant and integration")
        add_facts(parser)
        parser.add_argument("--reason", required=True, help="why, for the audit log")
        parser.add_argument("--dry-run", action="store_true", help="say whether it could be made, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        need_worker()
        now, kek = timezone.now(), kek_of(options["kek"])
        with plainly():
            if options["dry_run"]:
                with transaction.atomic():
                    facts = self._facts(options, now)
                    transaction.set_rollback(True)
                self.stdout.write(f"{facts['name']} would be made under {kek.uri}. Nothing was done (--dry-run).")
                return
            drawn = deks.draw_dek(kek=kek.pk, now=now)
            with transaction.atomic():
                facts = self._facts(options, now)
                key = deks.create_dek(drawn=drawn, facts=facts, actor=ACTOR, reason=options["reason"], now=now)
        self.stdout.write(f"{key.name} is made, wrapped by {kek.uri}. It is {key.ref}.")

    def _facts(self, options: dict[str, Any], now: Any) -> dict[str, Any]:
        tenant, integration = options["tenant"].strip(), options["integration"].strip()
        facts = deks.dek_facts(
            tenant=registered_by_name(Tenant, {tenant}, ACTOR, now).get(tenant),
            integration=registered_by_name(Integration, {integration}, ACTOR, now).get(integration),
            secret_name=options["secret"].strip(),
            now=now,
            **facts_in(options),
        )
        deks.check_new_dek(facts, now)
        return facts
