from inventory.services.exports import export_keys
from inventory.services.imports import Plan, apply_import, plan_import
from inventory.services.keys import activate_key, edit_key, register_key, suspend_key
from inventory.services.owners import register_owner, register_service

__all__ = [
    "Plan",
    "activate_key",
    "apply_import",
    "edit_key",
    "export_keys",
    "plan_import",
    "register_key",
    "register_owner",
    "register_service",
    "suspend_key",
]
