from inventory.services.findings import refresh_findings, review_findings
from inventory.services.imports import Plan, apply_import, plan_import
from inventory.services.keys import activate_key, edit_key, register_key, suspend_key
from inventory.services.owners import register_owner, register_service

__all__ = [
    "Plan",
    "activate_key",
    "apply_import",
    "edit_key",
    "plan_import",
    "refresh_findings",
    "register_key",
    "register_owner",
    "register_service",
    "review_findings",
    "suspend_key",
]
