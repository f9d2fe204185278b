"""How a name and a password become a person, and what the person may do: what their roles hold, and nothing else."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.utils import timezone

from keyvault_admin.access.models import User


class RoleBackend(ModelBackend):
    """Permissions come from roles alone: neither the flag of superusers nor a permission given directly counts.

    It is asked at sign-in and again by every request of a session, so an account that has ended is out at once, however
    late the beat is.
    """

    def user_can_authenticate(self, user: Any) -> bool:  # noqa: ANN401 - Django's own signature
        return user.is_active and not user.has_ended(timezone.now().date())

    def get_user_permissions(self, user_obj: Any, obj: object | None = None) -> set[str]:  # noqa: ANN401 - as above
        return set()

    def get_group_permissions(self, user_obj: Any, obj: object | None = None) -> set[str]:  # noqa: ANN401 - as above
        """Return what the roles hold; one query, kept on the object."""
        if not isinstance(user_obj, User) or not user_obj.is_active or obj is not None:
            return set()
        return set(user_obj.standing.permissions)

    def get_all_permissions(self, user_obj: Any, obj: object | None = None) -> set[str]:  # noqa: ANN401 - as above
        return self.get_group_permissions(user_obj, obj)

    def has_perm(self, user_obj: Any, perm: str, obj: object | None = None) -> bool:  # noqa: ANN401 - as above
        return perm in self.get_all_permissions(user_obj, obj)
