"""The five roles and what each may do, as data. Pure; a migration carries it into the database."""

from enum import StrEnum


class Role(StrEnum):
    """Names of the groups; stored in the log, never renamed."""

    SECURITY = "Security"
    DEVOPS = "DevOps"
    ENGINEERING = "Engineering"
    MANAGEMENT = "Management"
    AUDITOR = "Auditor"


# Every permission that exists for people, "app.codename" → its words. `change_own_key` holds for the keys whose owner
# the person is; the doors of the inventory look.
PERMISSIONS = {
    "inventory.view_key": "Can view key",
    "inventory.add_key": "Can add key",
    "inventory.change_key": "Can change key",
    "inventory.change_own_key": "Can change and suspend keys that one owns",
    "inventory.suspend_key": "Can suspend a key at once",
    "inventory.import_keys": "Can import an inventory",
    "inventory.find_token": "Can look up the record of a token that was found",
    "inventory.export_keys": "Can export the inventory",
    "inventory.view_keyversion": "Can view key version",
    "inventory.report_rotation": "Can report a rotation done elsewhere",
    "inventory.view_owner": "Can view owner",
    "inventory.add_owner": "Can add owner",
    "inventory.change_owner": "Can change owner",
    "inventory.view_service": "Can view service",
    "inventory.add_service": "Can add service",
    "inventory.change_service": "Can change service",
    "inventory.view_vendor": "Can view vendor",
    "inventory.add_vendor": "Can add vendor",
    "inventory.change_vendor": "Can change vendor",
    "inventory.view_policyclause": "Can view policy clause",
    "inventory.change_policyclause": "Can change policy clause",
    "inventory.view_policyexception": "Can view exception",
    "inventory.ask_policyexception": "Can ask for an exception to a clause",
    "inventory.end_policyexception": "Can end an exception early",
    "inventory.create_dek": "Can have a DEK made or rotated",
    "inventory.hand_out_dek": "Can hand out a wrapped DEK and confirm what was handed out",
    "rotation.view_digest": "Can view digest",
    "rotation.view_duty": "Can view duty",
    "rotation.view_order": "Can view order",
    "rotation.view_request": "Can view request",
    "rotation.view_review": "Can view review",
    "rotation.sign_review": "Can judge and sign reviews",
    "rotation.view_rewrapjob": "Can view rewrap job",
    "rotation.run_rewrapjob": "Can open, pause, resume and stop re-wrap jobs",
    "rotation.view_rewrapsource": "Can view rewrap source",
    "audit.view_certificate": "Can view certificate",
    "audit.view_event": "Can view event",
    "audit.view_exportcursor": "Can view export cursor",
    "audit.export_log": "Can export the audit log",
    "access.view_user": "Can view person",
    "access.manage_people": "Can add, change and deactivate people",
}
MODEL_OF_CUSTOM = {
    "audit.export_log": "exportcursor",
    "inventory.change_own_key": "key",
    "inventory.create_dek": "dekversion",
    "inventory.hand_out_dek": "dekversion",
    "rotation.run_rewrapjob": "rewrapjob",
    "inventory.suspend_key": "key",
    "inventory.import_keys": "key",
    "inventory.find_token": "key",
    "inventory.export_keys": "key",
    "inventory.report_rotation": "rotationevidence",
    "access.manage_people": "user",
}

_READ = frozenset(code for code in PERMISSIONS if ".view_" in code)
_KEYS = frozenset(f"inventory.view_{model}" for model in ("key", "keyversion", "policyclause", "policyexception"))
_REFERENCE = frozenset({"inventory.view_owner", "inventory.view_service", "inventory.view_vendor"})

MATRIX: dict[Role, frozenset[str]] = {
    Role.SECURITY: frozenset(PERMISSIONS),
    Role.DEVOPS: frozenset(PERMISSIONS)
    - {"access.view_user", "access.manage_people", "inventory.change_policyclause"}
    - {"inventory.ask_policyexception", "inventory.end_policyexception"}
    - {"audit.view_exportcursor", "audit.export_log"},
    Role.ENGINEERING: _KEYS
    | _REFERENCE
    | {"rotation.view_request"}
    | {"inventory.add_key", "inventory.change_own_key", "inventory.report_rotation"}
    | {"inventory.create_dek", "rotation.view_order", "rotation.view_rewrapjob"},
    Role.MANAGEMENT: _KEYS | _REFERENCE | {"rotation.view_digest", "rotation.view_request"},
    Role.AUDITOR: _READ | {"inventory.export_keys", "audit.export_log"},
}

# Steps of an approval that only these can fill; the last enrolled person of one of them is not deactivated.
VOTING = (Role.SECURITY, Role.DEVOPS)


def model_of(code: str) -> tuple[str, str]:
    """Return the application and the model that a permission belongs to: ("inventory", "key")."""
    app, codename = code.split(".")
    return app, MODEL_OF_CUSTOM.get(code) or codename.split("_", 1)[1]
