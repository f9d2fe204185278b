from inventory.services.brought import ImportOptions, checked
from inventory.services.headers import begin_import
from inventory.services.imports import Plan, apply_import, plan_import
from inventory.services.keys import activate_key, edit_key, register_key, suspend_key
from inventory.services.owners import register_owner, register_service

__all__ = [
    "ImportOptions",
    "Plan",
    "activate_key",
    "apply_import",
    "begin_import",
    "checked",
    "edit_key",
    "plan_import",
    "register_key",
    "register_owner",
    "register_service",
    "suspend_key",
]
