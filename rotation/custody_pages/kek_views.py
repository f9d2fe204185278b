"""The page of a KEK: its versions as a picture, what still needs each, what is being done, and what may be asked."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actor import actor_of
from audit.certificates import certificates_about
from inventory.chips import Chip, due_chip, state_chip
from inventory.errors import InventoryError
from inventory.forms import ReasonForm
from inventory.models import Kek
from rotation import rewrap
from rotation.custody_pages.acts import Act, ways
from rotation.custody_pages.orders import order_steps
from rotation.custody_pages.pictures import versions_picture
from rotation.custody_pages.wording import (
    death_words,
    figure,
    job_chip,
    needs,
    order_chip,
    percent,
    progress_words,
    reach_words,
    store_of,
    version_chips,
)
from rotation.custody_selectors.keks import KekFacts, VersionFacts, kek_facts
from rotation.errors import RotationError
from rotation.requests import live_about
from rotation.tasks import nudge_rewrap


@dataclass(frozen=True)
class VersionLine:
    """A row of the table "KEK version → DEKs it still wraps"."""

    facts: VersionFacts
    chips: list[Chip]
    deks: str
    needs: list[str]
    acts: list[Act]

    @property
    def is_named_otherwise(self) -> bool:
        """Whether the store calls it by another name than its number."""
        return self.facts.row.store_id != str(self.facts.number)


def page(admin: ModelAdmin, request: HttpRequest, pk: str, form: ReasonForm | None = None) -> HttpResponse:
    """Show a KEK. Queries: 11 of its own, however many DEKs it wraps."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    found = Kek.objects.select_related("key__owner", "key__service", "key__winning_clause")
    kek = get_object_or_404(found, pk=pk if pk.isdecimal() else None)
    facts, waiting = kek_facts(kek), list(live_about([kek.key.ref]).defer("payload"))
    now, roles = timezone.now(), tuple(getattr(request.user, "role_names", ()))
    open_ways = ways(facts, roles=roles, waiting=waiting)
    scheme, store, name = store_of(kek)
    subjects = [kek.key.ref, *(job.ref for job in facts.jobs)]
    may_run = request.user.has_perm("rotation.run_rewrapjob")
    return TemplateResponse(request, "admin/rotation/custody/kek.html", {
        **admin.admin_site.each_context(request),
        "title": kek.key.name,
        "opts": admin.opts,
        "kek": kek,
        "key": kek.key,
        "now": now,
        "facts": facts,
        "scheme": scheme,
        "store": store,
        "name_there": name,
        "state_chip": state_chip(kek.key.state),
        "due_chip": due_chip(kek.key.rotate_by, kek.key.state, now, kek.key.accepted_until),
        "picture": versions_picture(facts.versions, facts.job),
        "lines": [_line(one, open_ways.by_version[one.row.pk]) for one in reversed(facts.versions)],
        "ways": open_ways,
        "reach": reach_words(open_ways.capabilities),
        "death": death_words(open_ways.capabilities),
        "waiting": waiting if request.user.has_perm("rotation.view_request") else [],
        "job": _job(facts),
        "orders": [(order, order_chip(order), order_steps(order)) for order in facts.orders],
        "jobs": [(job, job_chip(job), percent(job)) for job in facts.jobs],
        "certificates": certificates_about(subjects) if request.user.has_perm("audit.view_certificate") else [],
        "rewrap_form": (form or ReasonForm()) if may_run and _has_old_deks(facts) else None,
    })  # fmt: skip


def _line(version: VersionFacts, acts: list[Act]) -> VersionLine:
    return VersionLine(version, version_chips(version), figure(version.deks), needs(version), acts)


def _job(facts: KekFacts) -> dict[str, Any] | None:
    """Return the live job with what stands beside its bar."""
    job = facts.job
    if job is None:
        return None
    return {"row": job, "chip": job_chip(job), "percent": percent(job), "words": progress_words(job)}


def _has_old_deks(facts: KekFacts) -> bool:
    """Whether there is something to re-wrap and nobody is at it."""
    return facts.job is None and any(one.deks for one in facts.versions if not one.is_primary)


def open_rewrap(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Open a job for what is still under old versions."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm("rotation.run_rewrapjob"):
        raise PermissionDenied
    kek = get_object_or_404(Kek, pk=pk)
    form = ReasonForm(request.POST)
    if form.is_valid():
        try:
            job = rewrap.open_job(
                kek=kek, actor=actor_of(request), reason=form.cleaned_data["reason"], now=timezone.now()
            )
        except (RotationError, InventoryError) as error:
            form.add_error(None, str(error))
        else:
            transaction.on_commit(partial(nudge_rewrap, job.pk), robust=True)
            messages.success(request, "The job is open. A worker takes it up within seconds.")
            return redirect("admin:rotation_rewrapjob_change", job.pk)
    return page(admin, request, str(pk), form)
