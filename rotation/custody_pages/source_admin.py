"""Sources elsewhere: the list, the page of one, and asking to register or retire one."""

from functools import partial
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, DateTimeField, F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from audit.canonical import JSON
from audit.keyset import KeysetAdmin, KeysetChangeList, Order
from audit.step_up import requires_step_up
from inventory.admin.common import chip, page_of
from inventory.chips import Chip
from inventory.models import Kek, Key
from rotation.asking_forms import AskForm
from rotation.asking_views import About, Question, ask_about, may_look
from rotation.custody_pages.acts import askable
from rotation.custody_pages.wording import job_chip, percent
from rotation.custody_selectors import rows
from rotation.custody_selectors.jobs import source_jobs
from rotation.models import RewrapSource, SourceForm
from rotation.requests import live_about

REGISTER, RETIRE = "source.register", "source.retire"
LIST = "admin:rotation_rewrapsource_changelist"


class FreeForm(AskForm):
    """A question that is about no key."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, key=Key(), **named)


class RegisterForm(FreeForm):
    """Where the other table is, and what stands in which column."""

    name = forms.CharField(label="Name", max_length=100, help_text="What people here call it.")
    kek = forms.TypedChoiceField(label="KEK", coerce=int, help_text="The one that wraps its DEKs.")
    host = forms.CharField(label="Host", max_length=255, help_text="Only those that the settings allow.")
    port = forms.IntegerField(label="Port", min_value=1, max_value=65_535, initial=5432)
    database = forms.CharField(label="Database", max_length=63)
    login = forms.CharField(label="Login", max_length=63, help_text="One that may do this and nothing else.")
    password_file = forms.CharField(label="File of the password", max_length=300, help_text="On the worker's machine.")
    ca_file = forms.CharField(label="File of the CA", max_length=300, required=False)
    table = forms.CharField(label="Table", max_length=127, help_text="With its schema: public.deks")
    id_column = forms.CharField(label="Column of the id", max_length=63)
    wrapped_column = forms.CharField(label="Column of the wrapped DEK", max_length=63)
    version_column = forms.CharField(label="Column of the KEK version", max_length=63)
    context_column = forms.CharField(label="Column of the context", max_length=63, required=False)
    binding_column = forms.CharField(
        label="Column of the binding digest",
        max_length=63,
        required=False,
        help_text="Filled by us at the first opening.",
    )
    form = forms.ChoiceField(label="Written as", choices=SourceForm.choices)

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, **named)
        keks = Kek.objects.select_related("key").order_by("key__name").values_list("pk", "key__name")
        field: Any = self.fields["kek"]
        field.choices = [("", "Choose one"), *((str(pk), name) for pk, name in keks)]

    @property
    def parameters(self) -> dict[str, JSON]:
        return {name: self.cleaned_data[name] for name in self.fields if name not in {"reason", "seen"}}


class RetireForm(FreeForm):
    """Which source is meant stands in the address."""

    def __init__(self, *arguments: Any, source: int, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        self.source = source
        super().__init__(*arguments, **named)

    @property
    def parameters(self) -> dict[str, JSON]:
        return {"source": self.source}


REGISTERING = Question(
    REGISTER,
    "register a source of DEKs kept elsewhere",
    RegisterForm,
    "A table of another PostgreSQL database whose wrapped DEKs are re-wrapped where they are. Nothing is moved.",
)
RETIRING = Question(
    RETIRE,
    "retire",
    RetireForm,
    "From then on nobody counts it and no job reaches it: a KEK version may go that its DEKs still need.",
)


class SourceList(KeysetChangeList):
    def _kind(self, count: int) -> str:
        return "source" if count == 1 else "sources"


@admin.register(RewrapSource)
class RewrapSourceAdmin(KeysetAdmin, ReadOnlyAdmin):
    list_title = "Sources elsewhere"
    list_display = ("source", "kek_now", "place", "count", "standing")
    list_display_links = ("source",)
    search_fields = ("name", "host", "table")
    search_help_text = "Name, host or table"
    sortable_by = ("source", "count")
    keyset_orders: ClassVar[dict[str, Order]] = {
        "source": Order("source", F("name"), CharField(), is_unique=True),
        "count": Order("count", F("counted_at"), DateTimeField(), is_nullable=True),
    }

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("ask/", page(ask_to_register), name="rotation_rewrapsource_ask"),
            path("<int:pk>/retire/", page(ask_to_retire), name="rotation_rewrapsource_retire"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RewrapSource]:
        return rows.sources()

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ANN401 - Django's own
        return SourceList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"may_register": _may_ask(request, REGISTER), **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        """Show a source. Queries: 3 of its own."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        source = get_object_or_404(rows.sources(), pk=object_id if object_id.isdecimal() else None)
        job = source_jobs([source]).get(source.pk)
        return TemplateResponse(request, "admin/rotation/rewrapsource/source.html", {
            **self.admin_site.each_context(request),
            "title": source.name,
            "opts": self.opts,
            "source": source,
            "chip": standing_chip(source),
            "counts": sorted(source.counts.items()),
            "job": job and {"row": job, "chip": job_chip(job), "percent": percent(job)},
            "waiting": list(live_about([source.ref]).defer("payload")),
            "may_retire": source.retired_at is None and _may_ask(request, RETIRE),
            "now": timezone.now(),
        })  # fmt: skip

    def has_view_permission(self, request: HttpRequest, obj: RewrapSource | None = None) -> bool:
        return request.user.has_perm("rotation.view_rewrapsource")

    @admin.display(description="Source", ordering="name")
    def source(self, source: RewrapSource) -> SafeString:
        return format_html('{}<span class="sub mono">{}</span>', source.name, source.table)

    @admin.display(description="KEK")
    def kek_now(self, source: RewrapSource) -> SafeString:
        url = reverse("admin:inventory_kek_change", args=[source.kek_id])
        return format_html('<a href="{}">{}</a>', url, source.kek.key.name)

    @admin.display(description="Where")
    def place(self, source: RewrapSource) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', source.host, source.database)

    @admin.display(description="DEKs", ordering="counted_at")
    def count(self, source: RewrapSource) -> SafeString:
        if source.counted_at is None:
            return format_html('<span class="third">{}</span>', "never counted")
        when = f"{source.counted_at:%-d %b %Y, %H:%M}"
        return format_html('{}<span class="sub">{}</span>', f"{total(source):,}", when)

    @admin.display(description="State")
    def standing(self, source: RewrapSource) -> SafeString:
        return chip(standing_chip(source))


def total(source: RewrapSource) -> int:
    return sum(int(deks) for deks in source.counts.values())


def standing_chip(source: RewrapSource) -> Chip:
    """Say how a source stands: retired, in trouble, or reached when somebody last looked."""
    if source.retired_at:
        return Chip("rest", f"retired {source.retired_at:%-d %b %Y}")
    if source.trouble:
        return Chip("late", "not reached")
    return Chip("ok", "reached") if source.counted_at else Chip("soon", "not counted yet")


def _may_ask(request: HttpRequest, code: str) -> bool:
    return code in askable(getattr(request.user, "role_names", ()))


@requires_step_up
def ask_to_register(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Ask that a table elsewhere be registered."""
    may_look(request)
    crumb = ("Sources elsewhere", reverse(LIST))
    form = RegisterForm(request.POST or None, initial={"kek": request.GET.get("kek", "")})
    return ask_about(admin, request, REGISTERING, About("", reverse(LIST), (crumb,)), form)


@requires_step_up
def ask_to_retire(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a source elsewhere be retired."""
    may_look(request)
    source = get_object_or_404(RewrapSource, pk=pk)
    url = reverse("admin:rotation_rewrapsource_change", args=[pk])
    about = About(source.name, url, (("Sources elsewhere", reverse(LIST)),), (source.ref,))
    return ask_about(admin, request, RETIRING, about, RetireForm(request.POST or None, source=pk))
