"""What the first page and the navigation say of key stores: jobs that run, and orders that failed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from audit.counting import shown as in_words
from rotation.custody_pages.wording import percent, progress_words
from rotation.custody_selectors.jobs import failed_orders, live_jobs, running_jobs
from rotation.models import RewrapJob

JOBS = 3


@dataclass(frozen=True)
class Running:
    """A re-wrap job that is not done."""

    job: RewrapJob
    percent: int
    words: str


def what_waits(request: HttpRequest) -> dict[str, QuerySet[Any]]:
    """Return what is counted for somebody, by what they may see. No query by itself."""
    may = request.user.has_perm
    waiting: dict[str, QuerySet[Any]] = {}
    if may("rotation.view_rewrapjob"):
        waiting["jobs"] = live_jobs()
    if may("rotation.view_order"):
        waiting["orders_failed"] = failed_orders()
    return waiting


def shown(waiting: Mapping[str, int]) -> list[Running]:
    """Return the jobs that are not done, with how far they are. Queries: 1 where there are any."""
    jobs = running_jobs(JOBS) if waiting.get("jobs") else []
    return [Running(job, percent(job), f"{progress_words(job)} · {job.get_state_display()}") for job in jobs]


def steps(request: HttpRequest, waiting: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """Lead to what a key store did not do: title, note and address. Queries: none."""
    failed = waiting.get("orders_failed", 0)
    if not failed or not request.user.has_perm("rotation.run_rewrapjob"):
        return []
    title = "Look at an order that failed" if failed == 1 else f"Look at {in_words(failed)} orders that failed"
    url = f"{reverse('admin:rotation_order_changelist')}?state__exact=failed"
    return [(title, "its key store did not do what was decided; try it again or cancel it", url)]
