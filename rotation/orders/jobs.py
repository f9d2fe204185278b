"""The re-wrap job that follows a rotation."""

from datetime import datetime

from audit.actor import Actor
from inventory.models import KekVersion, Wrapping
from rotation import rewrap
from rotation.models import LIVE_JOBS, Order, RewrapJob, RewrapSource


def open_after(order: Order, version: KekVersion, *, actor: Actor, now: datetime) -> None:
    """Open the job that brings all that is under older versions under this one, in the transaction of the rotation.

    None where nothing is. Of each source elsewhere a job of its own. Events: rewrap.opened, rewrap.superseded.
    """
    kek, reason = version.kek, order.reason or "the KEK was rotated"
    older = Wrapping.objects.filter(kek_version__kek=kek, kek_version__lt=version.pk)
    if older.exists() or RewrapJob.objects.filter(kek=kek, source=None, state__in=LIVE_JOBS).exists():
        rewrap.open_job(kek=kek, actor=actor, reason=reason, now=now, order=order)
    for source in RewrapSource.objects.filter(kek=kek, retired_at__isnull=True).order_by("pk"):
        rewrap.open_job(kek=kek, actor=actor, reason=reason, now=now, order=order, source=source)
