"""The list of re-wrap jobs, and of orders to key stores."""

from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import DateTimeField, F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from audit.admin_base import ReadOnlyAdmin
from audit.keyset import KeysetAdmin, KeysetChangeList, Order
from inventory.admin.common import chip, page_of
from rotation import models
from rotation.custody_pages import job_views, order_views
from rotation.custody_pages.orders import order_name
from rotation.custody_pages.wording import job_chip, order_chip, percent, progress_words, took
from rotation.custody_selectors import rows
from rotation.operations.showing import visible


class JobList(KeysetChangeList):
    def _kind(self, count: int) -> str:
        return "job" if count == 1 else "jobs"


@admin.register(models.RewrapJob)
class RewrapJobAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Re-wrap jobs"
    empty_words = "Rotating a KEK opens one: it brings every DEK from the old versions to the new one."
    list_display = ("what", "state_now", "how_far", "opened", "ended")
    list_display_links = ("what",)
    list_filter = ("state",)
    sortable_by = ("opened",)
    keyset_orders: ClassVar[dict[str, Order]] = {
        "opened": Order("opened", F("opened_at"), DateTimeField(), descending=True),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("<int:pk>/progress/", page(job_views.progress), name="rotation_rewrapjob_progress"),
            path("<int:pk>/pause/", page(job_views.pause), name="rotation_rewrapjob_pause"),
            path("<int:pk>/resume/", page(job_views.resume), name="rotation_rewrapjob_resume"),
            path("<int:pk>/stop/", page(job_views.stop), name="rotation_rewrapjob_stop"),
            path("<int:pk>/retry/", page(job_views.retry), name="rotation_rewrapjob_retry"),
            path("<int:pk>/speed/", page(job_views.speed), name="rotation_rewrapjob_speed"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.RewrapJob]:
        return rows.jobs()

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ANN401 - Django's own
        return JobList

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return job_views.page(self, request, object_id)

    def has_view_permission(self, request: HttpRequest, obj: models.RewrapJob | None = None) -> bool:
        return request.user.has_perm("rotation.view_rewrapjob")

    @admin.display(description="Job")
    def what(self, job: models.RewrapJob) -> SafeString:
        target = f"to version {job.target.version.number}"
        return format_html('{}<span class="sub">{}</span>', job.source or job.kek.key.name, target)

    @admin.display(description="State")
    def state_now(self, job: models.RewrapJob) -> SafeString:
        return chip(job_chip(job))

    @admin.display(description="Progress")
    def how_far(self, job: models.RewrapJob) -> SafeString:
        return format_html(
            '<progress class="bar slim" max="{}" value="{}">{} %</progress><span class="sub">{}</span>',
            job.total or 1,
            min(job.rewrapped, job.total) if job.total else int(job.state == models.JobState.DONE),
            percent(job),
            progress_words(job),
        )

    @admin.display(description="Opened", ordering="opened_at")
    def opened(self, job: models.RewrapJob) -> str:
        return f"{job.opened_at:%-d %b %Y, %H:%M}"

    @admin.display(description="Ended")
    def ended(self, job: models.RewrapJob) -> SafeString | None:
        if job.closed_at is None:
            return None
        return format_html('{}<span class="sub">{}</span>', f"{job.closed_at:%-d %b %Y, %H:%M}", took(job))


class OrderList(KeysetChangeList):
    def _kind(self, count: int) -> str:
        return "order" if count == 1 else "orders"


@admin.register(models.Order)
class OrderAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Orders to key stores"
    empty_words = "What is decided about a KEK or a DEK, and is to be done in a key store, stands here step by step."
    list_display = ("what", "state_now", "ordered", "ended")
    list_display_links = ("what",)
    list_filter = ("act", "state")
    sortable_by = ("ordered",)
    keyset_orders: ClassVar[dict[str, Order]] = {
        "ordered": Order("ordered", F("created_at"), DateTimeField(), descending=True),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("<int:pk>/progress/", page(order_views.progress), name="rotation_order_progress"),
            path("<int:pk>/retry/", page(order_views.retry), name="rotation_order_retry"),
            path("<int:pk>/cancel/", page(order_views.cancel), name="rotation_order_cancel"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Order]:
        return rows.orders()

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ANN401 - Django's own
        return OrderList

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return order_views.page(self, request, object_id)

    def has_view_permission(self, request: HttpRequest, obj: models.Order | None = None) -> bool:
        return request.user.has_perm("rotation.view_order")

    @admin.display(description="Order")
    def what(self, order: models.Order) -> SafeString:
        name = visible(order_name(order))
        return format_html('{}<span class="sub">{}</span>', capfirst(order.get_act_display()), name)

    @admin.display(description="State")
    def state_now(self, order: models.Order) -> SafeString:
        return chip(order_chip(order))

    @admin.display(description="Ordered", ordering="created_at")
    def ordered(self, order: models.Order) -> str:
        return f"{order.created_at:%-d %b %Y, %H:%M}"

    @admin.display(description="Ended")
    def ended(self, order: models.Order) -> str | None:
        return f"{order.closed_at:%-d %b %Y, %H:%M}" if order.closed_at else None
