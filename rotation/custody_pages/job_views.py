"""The page of a re-wrap job: how far it is, what it could not bring over, and the few things one may do with it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actor import actor_of
from audit.step_up import requires_step_up
from inventory.errors import InventoryError
from inventory.forms import ReasonForm
from rotation import rewrap
from rotation.custody_pages.wording import (
    batch_words,
    figure,
    job_chip,
    moves,
    percent,
    progress_words,
    rate_words,
    reason_words,
    summary,
    took,
)
from rotation.custody_selectors.jobs import JobFacts, job_facts, quarantined_of
from rotation.custody_selectors.rows import job_of
from rotation.errors import RotationError
from rotation.models import LIVE_JOBS, JobState, RewrapJob
from rotation.tasks import nudge_rewrap

REFRESH_SECONDS = 5  # without a script
_LARGEST_BATCH = 50_000
_NUDGING = {"resume", "retry"}  # after these there may be something to do at once


class SpeedForm(ReasonForm):
    """How fast a job goes."""

    per_second = forms.IntegerField(
        label="DEKs a second", required=False, min_value=1, help_text="All workers together; empty: as fast as it goes."
    )
    batch_size = forms.IntegerField(
        label="DEKs in a batch", min_value=1, max_value=_LARGEST_BATCH, help_text="A batch takes a few seconds at best."
    )
    field_order = ("per_second", "batch_size", "reason")


@dataclass(frozen=True)
class Sent:
    """A form that was refused, as it was filled, and which one it is."""

    name: str = ""
    form: ReasonForm | None = None

    def of(self, name: str) -> ReasonForm | None:
        return self.form if self.name == name else None


def page(admin: ModelAdmin, request: HttpRequest, pk: str, sent: Sent | None = None) -> HttpResponse:
    """Show a job. Queries: 6 of its own, however many DEKs it brings over."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    job, now, sent = _job(pk), timezone.now(), sent or Sent()
    facts = job_facts(job, now)
    is_live = job.state in LIVE_JOBS
    steers = is_live and request.user.has_perm("rotation.run_rewrapjob")
    return TemplateResponse(request, "admin/rotation/rewrapjob/job.html", {
        **admin.admin_site.each_context(request),
        "title": f"Re-wrap of {job.source or job.kek.key.name}",
        "opts": admin.opts,
        "job": job,
        "facts": facts,
        "chip": job_chip(job),
        "moves": moves(job, facts.old),
        "percent": percent(job),
        "summary": summary(facts),
        "took": took(job),
        "old": [(one, figure(one.deks)) for one in reversed(facts.old)],
        "batches": [(batch, *batch_words(batch, now)) for batch in facts.pace.batches],
        "quarantined": [(one, *reason_words(one.reason)) for one in quarantined_of(job)],
        "is_live": is_live,
        "is_paused": job.state == JobState.PAUSED,
        "steers": steers,
        "sent": sent,
        "forms": _forms(job, sent) if steers else {},
        "refresh_seconds": REFRESH_SECONDS,
    })  # fmt: skip


def _job(pk: str | int) -> RewrapJob:
    text = str(pk)
    found = job_of(int(text)) if text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004 - fits 64 bits
    if found is None:
        raise Http404("There is no such job.")
    return found


def _forms(job: RewrapJob, sent: Sent) -> dict[str, ReasonForm]:
    """Return the forms of what may be done now, each with ids of its own."""
    steer = "resume" if job.state == JobState.PAUSED else "pause"
    forms = {name: sent.of(name) or ReasonForm(auto_id=f"id_{name}_%s") for name in (steer, "stop", "retry")}
    paced = {"per_second": job.per_second, "batch_size": job.batch_size}
    return {**forms, "speed": sent.of("speed") or SpeedForm(initial=paced, auto_id="id_speed_%s")}


def progress(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Say how far a job is, for the page that watches it. Queries: 5 of its own."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    job = _job(pk)
    facts = job_facts(job, timezone.now())
    return JsonResponse({
        "state": job.state,
        "of": job.total,
        "done": job.rewrapped,
        "percent": percent(job),
        "figures": _figures(facts),
    })  # fmt: skip


def _figures(facts: JobFacts) -> dict[str, str]:
    """Return the texts of the page that change while a job runs, by the name of their place."""
    job = facts.job
    old = {f"version-{one.row.pk}": figure(one.deks) for one in facts.old}
    return {
        "summary": summary(facts),
        "percent": f"{percent(job)} %",
        "progress": progress_words(job),
        "rate": rate_words(facts.pace.a_second),
        "pass": str(job.pass_number),
        "verified": f"{job.verified:,}",
        "quarantined": f"{facts.quarantined:,}",
        **old,
    }


# Steering


def pause(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Let no further batch begin."""
    return _steer(admin, request, pk, "pause", rewrap.pause, "It is paused. Batches in hand are brought to their end.")


def resume(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Let a paused job go on."""
    return _steer(admin, request, pk, "resume", rewrap.resume, "It goes on.")


@requires_step_up
def stop(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """End a job for good."""
    return _steer(admin, request, pk, "stop", rewrap.stop, "It is stopped. What it has brought over stays there.")


def retry(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Let what is in quarantine be tried again."""
    done = "They are tried again with the next pass."
    return _steer(admin, request, pk, "retry", rewrap.retry_quarantined, done)


def speed(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Change how fast a job goes."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    form = SpeedForm(request.POST, auto_id="id_speed_%s")
    paced = {name: form.cleaned_data[name] for name in ("per_second", "batch_size")} if form.is_valid() else {}
    return _steer(admin, request, pk, "speed", partial(rewrap.change_speed, **paced), "From the next batch on.", form)


def _steer(
    admin: ModelAdmin,
    request: HttpRequest,
    pk: int,
    name: str,
    service: Callable[..., Any],
    done: str,
    form: ReasonForm | None = None,
) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm("rotation.run_rewrapjob"):
        raise PermissionDenied
    job = _job(pk)
    form = form or ReasonForm(request.POST, auto_id=f"id_{name}_%s")
    if form.is_valid():
        try:
            service(pk=job.pk, actor=actor_of(request), reason=form.cleaned_data["reason"], now=timezone.now())
        except (RotationError, InventoryError) as error:
            form.add_error(None, str(error))
        else:
            if name in _NUDGING:
                transaction.on_commit(partial(nudge_rewrap, job.pk), robust=True)
            messages.success(request, done)
            return redirect("admin:rotation_rewrapjob_change", job.pk)
    return page(admin, request, str(pk), Sent(name, form))
