from inventory.services.held import confirm_held, hold_edit, reject_held, report_rotation, withdraw_held
from inventory.services.imports import Plan, apply_import, plan_import
from inventory.services.keys import activate_key, edit_key, register_key, suspend_key
from inventory.services.owners import register_owner, register_service

__all__ = [
    "Plan",
    "activate_key",
    "apply_import",
    "confirm_held",
    "edit_key",
    "hold_edit",
    "plan_import",
    "register_key",
    "register_owner",
    "register_service",
    "reject_held",
    "report_rotation",
    "suspend_key",
    "withdraw_held",
]
