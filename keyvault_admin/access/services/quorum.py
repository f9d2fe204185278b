"""The end of bootstrapping."""

from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access import selectors
from keyvault_admin.access.models import BootstrapClosing


@transaction.atomic
def close_bootstrap_if_complete(*, actor: Actor, now: datetime) -> None:
    """Close bootstrapping for good once the quorum is enrolled. Event: bootstrap.closed."""
    if BootstrapClosing.objects.exists() or not selectors.has_quorum():
        return
    closing, is_new = BootstrapClosing.objects.get_or_create(pk=1, defaults={"closed_at": now})
    if is_new:
        record(Action.BOOTSTRAP_CLOSED, actor=actor, now=now, facts={"closed_at": closing.closed_at.isoformat()})
