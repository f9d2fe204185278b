"""The matrix, written out a second time: whoever changes one has to mean it."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection

from keyvault_admin.access.models import User
from keyvault_admin.access.roles import MATRIX, PERMISSIONS, Role

#                                  Sec    Dev    Eng    Man    Aud
EXPECTED = {
    "access.manage_people":       (True,  False, False, False, False),
    "access.view_user":           (True,  False, False, False, True),
    "audit.view_event":           (True,  True,  False, False, True),
    "audit.view_exportcursor":    (True,  False, False, False, True),
    "audit.export_log":           (True,  False, False, False, True),
    "audit.view_certificate":     (True,  True,  False, False, True),
    "inventory.create_dek":       (True,  True,  True,  False, False),
    "inventory.hand_out_dek":     (True,  True,  False, False, False),
    "rotation.view_order":        (True,  True,  True,  False, True),
    "rotation.view_rewrapjob":    (True,  True,  True,  False, True),
    "rotation.run_rewrapjob":     (True,  True,  False, False, False),
    "rotation.view_rewrapsource": (True,  True,  False, False, True),
    "inventory.add_key":          (True,  True,  True,  False, False),
    "inventory.add_owner":        (True,  True,  False, False, False),
    "inventory.add_service":      (True,  True,  False, False, False),
    "inventory.add_vendor":       (True,  True,  False, False, False),
    "inventory.ask_policyexception": (True, False, False, False, False),
    "inventory.change_key":       (True,  True,  False, False, False),
    "inventory.change_own_key":   (True,  True,  True,  False, False),
    "inventory.change_owner":     (True,  True,  False, False, False),
    "inventory.change_policyclause": (True, False, False, False, False),
    "inventory.change_service":   (True,  True,  False, False, False),
    "inventory.change_vendor":    (True,  True,  False, False, False),
    "inventory.end_policyexception": (True, False, False, False, False),
    "inventory.find_token":       (True,  True,  False, False, False),
    "inventory.export_keys":      (True,  True,  False, False, True),
    "inventory.import_keys":      (True,  True,  False, False, False),
    "inventory.report_rotation":  (True,  True,  True,  False, False),
    "inventory.suspend_key":      (True,  True,  False, False, False),
    "inventory.view_key":         (True,  True,  True,  True,  True),
    "inventory.view_keyversion":  (True,  True,  True,  True,  True),
    "inventory.view_owner":       (True,  True,  True,  True,  True),
    "inventory.view_policyclause":(True,  True,  True,  True,  True),
    "inventory.view_policyexception": (True, True, True, True,  True),
    "inventory.view_service":     (True,  True,  True,  True,  True),
    "inventory.view_vendor":      (True,  True,  True,  True,  True),
    "rotation.sign_review":       (True,  True,  False, False, False),
    "rotation.view_digest":       (True,  True,  False, True,  True),
    "rotation.view_duty":         (True,  True,  False, False, True),
    "rotation.view_request":      (True,  True,  True,  True,  True),
    "rotation.view_review":       (True,  True,  False, False, True),
}  # fmt: skip


def test_matrix_is_what_was_agreed() -> None:
    assert {code: tuple(code in MATRIX[role] for role in Role) for code in PERMISSIONS} == EXPECTED


def test_groups_in_the_database_hold_exactly_the_matrix(db: None) -> None:
    groups = {
        group.name: set(map(".".join, group.permissions.values_list("content_type__app_label", "codename")))
        for group in Group.objects.all()
    }
    assert groups == {role.value: set(codes) for role, codes in MATRIX.items()}


def test_no_permission_was_made_twice(db: None) -> None:
    for code, words in PERMISSIONS.items():
        app, codename = code.split(".")
        found = Permission.objects.filter(content_type__app_label=app, codename=codename)
        assert [permission.name for permission in found] == [words], code


def test_a_person_has_what_the_role_has_and_nothing_else(carol: User) -> None:
    assert carol.get_all_permissions() == set(MATRIX[Role.ENGINEERING])


def test_auditors_and_managers_change_nothing() -> None:
    for role in (Role.AUDITOR, Role.MANAGEMENT):
        assert all(".view_" in code or code in {"inventory.export_keys", "audit.export_log"} for code in MATRIX[role])


@pytest.mark.parametrize("table", ["auth_group", "auth_permission", "auth_group_permissions", "django_content_type"])
def test_no_login_role_can_change_what_a_role_may_do(db: None, table: str) -> None:
    with connection.cursor() as cursor:
        for role in ("web", "worker", "beat", "signer", "command"):
            for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
                cursor.execute("SELECT has_table_privilege(%s, %s, %s)", [f"keyvault_{role}", table, privilege])
                assert cursor.fetchone() == (False,), (role, privilege)
