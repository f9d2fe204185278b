"""What keys belong to: owners, services, vendors."""

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.actor import actor_of
from inventory import records_views, services
from inventory.admin.common import CountsKeys, EditedWithReason, changes_of, chip, how_of, page_of
from inventory.chips import Chip
from inventory.forms import EditOwnerForm, EditServiceForm, EditVendorForm, OwnerForm, ServiceForm, VendorForm
from inventory.models import Owner, Service, Vendor


@admin.register(Owner)
class OwnerAdmin(CountsKeys):
    counted_by = "owner"
    form, edit_form, add_label = OwnerForm, EditOwnerForm, "Register an owner"
    list_display = ("handle", "kind", "mail", "key_count", "late_count", "active")
    list_filter = ("kind", "is_active")
    search_fields = ("handle", "mail")

    @admin.display(description="State", ordering="is_active")
    def active(self, owner: Owner) -> SafeString:
        return chip(Chip("ok", "active") if owner.is_active else Chip("rest", "has left"))

    def save_model(self, request: HttpRequest, obj: Owner, form: ModelForm, change: bool) -> None:  # noqa: FBT001
        who, now = actor_of(request), timezone.now()
        if change:
            changes = changes_of(form)
            if "user" in changes:
                changes["user_id"] = changes.pop("user") and form.cleaned_data["user"].pk
            services.edit_owner(pk=obj.pk, changes=changes, actor=who, now=now, **how_of(form))
            return
        saved = services.register_owner(handle=obj.handle, mail=obj.mail, kind=obj.kind, actor=who, now=now)
        obj.pk = saved.pk


@admin.register(Service)
class ServiceAdmin(CountsKeys):
    counted_by = "service"
    form, edit_form, add_label = ServiceForm, EditServiceForm, "Register a service"
    empty_words = "Register those that your keys belong to, or import an inventory: it brings them along."
    list_display = ("service", "tier_number", "team", "data", "key_count", "late_count")
    list_display_links = ("service",)
    list_filter = ("tier",)
    list_select_related = ("team", "vendor")
    search_fields = ("name",)

    def get_urls(self) -> list[URLPattern]:
        uncovered = path("uncovered/", page_of(self, records_views.uncovered), name="inventory_service_uncovered")
        return [uncovered, *super().get_urls()]

    @admin.display(description="Service", ordering="name")
    def service(self, service: Service) -> SafeString:
        return format_html('{}<span class="sub">{}</span>', service.name, service.description)

    @admin.display(description="Tier", ordering="tier")
    def tier_number(self, service: Service) -> int | None:
        return service.tier

    @admin.display(description="Data")
    def data(self, service: Service) -> str:
        return ", ".join(service.data_classes)

    def save_model(self, request: HttpRequest, obj: Service, form: ModelForm, change: bool) -> None:  # noqa: FBT001
        who, now = actor_of(request), timezone.now()
        if change:
            services.edit_service(pk=obj.pk, changes=changes_of(form), actor=who, now=now, **how_of(form))
            return
        saved = services.register_service(
            name=obj.name,
            description=obj.description,
            team=obj.team,
            tier=obj.tier,
            data_classes=obj.data_classes,
            vendor=obj.vendor,
            actor=who,
            now=now,
        )
        obj.pk = saved.pk


@admin.register(Vendor)
class VendorAdmin(EditedWithReason):
    form, edit_form, add_label = VendorForm, EditVendorForm, "Register a vendor"
    empty_words = "Register whoever outside makes, keeps or needs a key of yours; keys and services then name them."
    list_display = ("name", "notes", "key_count", "service_count")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Vendor]:
        found: QuerySet[Vendor] = super().get_queryset(request)
        return found.annotate(keys_held=Count("keys", distinct=True), services_run=Count("services", distinct=True))

    @admin.display(description="Keys", ordering="keys_held")
    def key_count(self, vendor: Vendor) -> int:
        return int(vendor.keys_held)  # type: ignore[attr-defined]

    @admin.display(description="Services", ordering="services_run")
    def service_count(self, vendor: Vendor) -> int:
        return int(vendor.services_run)  # type: ignore[attr-defined]

    def save_model(self, request: HttpRequest, obj: Vendor, form: ModelForm, change: bool) -> None:  # noqa: FBT001
        who, now = actor_of(request), timezone.now()
        if change:
            services.edit_vendor(pk=obj.pk, changes=changes_of(form), actor=who, now=now, **how_of(form))
            return
        obj.pk = services.register_vendor(name=obj.name, notes=obj.notes, actor=who, now=now).pk
