"""The page of people: who has which role, and who is enrolled. It changes nothing."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.admin_base import ReadOnlyAdmin
from keyvault_admin.access import selectors
from keyvault_admin.access.models import User

admin.site.unregister(Group)  # roles are data of a migration; nobody edits them by form


class RoleFilter(admin.RelatedFieldListFilter):
    """Filters by role, in the word that people know."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self.title = "role"


@admin.register(User)
class PersonAdmin(ReadOnlyAdmin):
    """Two queries for the list besides its count: people and their roles."""

    list_display = ["username", "full_name", "email", "roles", "standing", "second_factor", "last_sign_in"]
    list_filter = ["is_active", ("groups", RoleFilter)]
    search_fields = ["username", "full_name", "email"]
    ordering = ["username"]
    fields = readonly_fields = (  # named one by one: the password's hash is on no page
        "username",
        "full_name",
        "email",
        "roles",
        "standing",
        "second_factor",
        "last_sign_in",
        "date_joined",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        people: QuerySet[User] = super().get_queryset(request)
        people = people.defer("password").prefetch_related("groups")
        return people.annotate(has_device=selectors.has_factor())

    @admin.display(description="roles")
    def roles(self, person: User) -> str:
        return ", ".join(person.role_names) or "none"

    @admin.display(description="standing", ordering="is_active")
    def standing(self, person: User) -> SafeString:
        if not person.is_active:
            return _chip("rest", "deactivated")
        return _chip("soon", "active superuser") if person.is_superuser else _chip("ok", "active")

    @admin.display(description="second factor", ordering="has_device")
    def second_factor(self, person: User) -> SafeString:
        return _chip("ok", "enrolled") if getattr(person, "has_device", False) else _chip("soon", "not yet")

    @admin.display(description="last sign-in", ordering="last_login", empty_value="never")
    def last_sign_in(self, person: User) -> Any:  # noqa: ANN401 - the admin writes the date
        return person.last_login


def _chip(look: str, words: str) -> SafeString:
    return format_html('<span class="chip {}">{}</span>', look, words)
