"""People: the list here, the pages of one person in `views.people`. No form of the stock admin writes a person."""

from functools import partial, wraps
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from keyvault_admin.access import selectors
from keyvault_admin.access.models import User
from keyvault_admin.access.views import asking, people, personal_data
from keyvault_admin.access.wording import standing

admin.site.unregister(Group)  # roles are data of a migration; nobody edits them by form


class RoleFilter(admin.RelatedFieldListFilter):
    """Filters by role, in the word that people know."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self.title = "role"


class StandingFilter(admin.SimpleListFilter):
    """Filters by whether an account works, and whether it has an end."""

    title, parameter_name = "standing", "standing"
    WHICH = {
        "active": Q(is_active=True),
        "limited": Q(is_active=True, ends_on__isnull=False),
        "deactivated": Q(is_active=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        return [("active", "Active"), ("limited", "With an end date"), ("deactivated", "Deactivated")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        return queryset.filter(self.WHICH.get(self.value() or "", Q()))


class FactorFilter(admin.SimpleListFilter):
    """Filters by whether a person can sign in yet."""

    title, parameter_name = "second factor", "factor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401
        return [("yes", "Enrolled"), ("no", "Not yet")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        has_factor = selectors.has_factor()
        return queryset.filter({"yes": has_factor, "no": ~has_factor}.get(self.value() or "", Q()))


@admin.register(User)
class PersonAdmin(ReadOnlyAdmin):
    """Two queries for the list besides its count: people and their roles."""

    list_display = ["username", "full_name", "email", "roles", "standing", "second_factor", "last_sign_in"]
    list_filter = [("groups", RoleFilter), StandingFilter, FactorFilter]
    search_fields = ["username", "full_name", "email"]
    search_help_text = "Name or mail address"
    ordering = ["username"]
    fields = readonly_fields = ("username", "full_name", "email")  # the password's hash is on no page

    def get_urls(self) -> list[URLPattern]:
        page = partial(_page, self)
        return [
            path("add/", page(people.add), name="access_user_add"),
            path("roles/", page(people.roles_page), name="access_user_roles"),
            path("quorum-review/<int:pk>/", page(people.quorum_review), name="access_user_quorum_review"),
            path("<int:pk>/edit/", page(people.edit), name="access_user_edit"),
            path("<int:pk>/link/", page(people.issue_link), name="access_user_link"),
            path("<int:pk>/last-day/", page(people.end_date), name="access_user_last_day"),
            path("<int:pk>/take-role/", page(people.revoke_role), name="access_user_take_role"),
            path("<int:pk>/personal-data/", page(personal_data.export_person), name="access_user_personal_data"),
            path("<int:pk>/deactivate/", page(people.deactivate), name="access_user_deactivate"),
            path("<int:pk>/ask-role/", page(asking.ask_role), name="access_user_ask_role"),
            path("<int:pk>/ask-reset/", page(asking.ask_reset), name="access_user_ask_reset"),
            path("<int:pk>/ask-return/", page(asking.ask_return), name="access_user_ask_return"),
            path("<int:pk>/ask-erasure/", page(asking.ask_erasure), name="access_user_ask_erasure"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: object = None
    ) -> HttpResponse:
        return people.person_page(self, request, object_id)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Filter by what the list offers and by nothing else: not by the beginning of somebody's password hash."""
        return lookup in {"groups__id__exact", StandingFilter.parameter_name, FactorFilter.parameter_name}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_manage = request.user.has_perm("access.manage_people")
        return super().changelist_view(request, {"may_manage": may_manage, **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        found: QuerySet[User] = super().get_queryset(request)
        found = found.defer("password").prefetch_related("groups")
        return found.annotate(has_device=selectors.has_factor())

    @admin.display(description="roles")
    def roles(self, person: User) -> str:
        return ", ".join(person.role_names) or "none"

    @admin.display(description="standing", ordering="is_active")
    def standing(self, person: User) -> SafeString:
        shown = _chip(*standing(person, timezone.now().date()))
        if person.is_active and person.is_superuser:
            return format_html("{} {}", shown, _chip("late", "superuser"))
        return shown

    @admin.display(description="second factor", ordering="has_device")
    def second_factor(self, person: User) -> SafeString:
        return _chip("ok", "enrolled") if getattr(person, "has_device", False) else _chip("soon", "not yet")

    @admin.display(description="last sign-in", ordering="last_login", empty_value="never")
    def last_sign_in(self, person: User) -> Any:  # noqa: ANN401 - the admin writes the date
        return person.last_login


def _page(person_admin: admin.ModelAdmin, view: Any) -> Any:  # noqa: ANN401 - views of differing arguments
    """Make a view a page of the admin site; what it declares of itself (`requires_step_up`) stays on it."""
    shown = wraps(view)(lambda request, *args, **kwargs: view(person_admin, request, *args, **kwargs))
    return person_admin.admin_site.admin_view(shown)


def _chip(look: str, words: str) -> SafeString:
    return format_html('<span class="chip {}">{}</span>', look, words)
