"""The page of people: who has which role, and who is enrolled. It changes nothing."""

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from audit.admin_base import ReadOnlyAdmin
from keyvault_admin.access.models import TotpDevice, User

admin.site.unregister(Group)  # roles are data of a migration; nobody edits them by form


@admin.register(User)
class PersonAdmin(ReadOnlyAdmin):
    """Three queries for the list: people, their roles, the count."""

    list_display = ["username", "full_name", "email", "roles", "is_active", "is_enrolled", "last_login"]
    list_filter = ["is_active", "groups"]
    search_fields = ["username", "full_name", "email"]
    ordering = ["username"]
    fields = readonly_fields = (  # named one by one: the password's hash is on no page
        "username",
        "full_name",
        "email",
        "roles",
        "is_active",
        "is_superuser",
        "is_enrolled",
        "last_login",
        "date_joined",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        device = TotpDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        people: QuerySet[User] = super().get_queryset(request)
        people = people.defer("password").prefetch_related("groups")
        return people.annotate(has_device=Exists(device))

    @admin.display(description="roles")
    def roles(self, person: User) -> str:
        return ", ".join(person.role_names) or "none"

    @admin.display(description="second factor", boolean=True, ordering="has_device")
    def is_enrolled(self, person: User) -> bool:
        return bool(getattr(person, "has_device", False))
