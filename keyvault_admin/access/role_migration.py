"""Carries the matrix of roles into groups and permissions; for migrations. A later matrix runs it again."""

from typing import Any

from django.apps.registry import Apps

from keyvault_admin.access.roles import MATRIX, PERMISSIONS, model_of


def carry_matrix(apps: Apps, schema_editor: object) -> None:
    """Give each group exactly its permissions, making both where missing; post_migrate finds them and adds none."""
    permissions = {code: _permission(apps, code) for code in PERMISSIONS}
    for role, codes in MATRIX.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=role.value)
        group.permissions.set([permissions[code] for code in sorted(codes)])


def _permission(apps: Apps, code: str) -> Any:  # noqa: ANN401 - a historical model
    app_label, model = model_of(code)
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label=app_label, model=model
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type, codename=code.split(".")[1], defaults={"name": PERMISSIONS[code]}
    )
    return permission
