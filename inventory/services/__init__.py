from inventory.services.clauses import edit_clause, register_clause, retire_clause, set_threat_level
from inventory.services.imports import Plan, apply_import, plan_import
from inventory.services.keys import activate_key, edit_key, register_key, suspend_key
from inventory.services.owners import register_owner, register_service

__all__ = [
    "Plan",
    "activate_key",
    "apply_import",
    "edit_clause",
    "edit_key",
    "plan_import",
    "register_clause",
    "register_key",
    "register_owner",
    "register_service",
    "retire_clause",
    "set_threat_level",
    "suspend_key",
]
