from inventory.services.brought import ImportOptions, checked
from inventory.services.clauses import set_threat_level
from inventory.services.digests import find_token, register_material_digest
from inventory.services.exceptions import end_exception, expire_exceptions
from inventory.services.exports import export_keys
from inventory.services.findings import refresh_findings, review_findings
from inventory.services.forgetting import forget_owners
from inventory.services.headers import begin_import
from inventory.services.held import hold_edit, report_rotation, waiting_on
from inventory.services.imports import apply_import, plan_import
from inventory.services.jobs import (
    SEALED_FILES,
    Draw,
    clear_imports,
    confirm_import,
    read_again,
    take_file,
    waiting_imports,
    work_off_import,
)
from inventory.services.keys import activate_key, edit_key, register_key
from inventory.services.own_keys import Became, House, OwnFacts, note_master_key, register_own_keys
from inventory.services.owners import edit_owner, edit_service, register_owner, register_service
from inventory.services.periods import apply_due_transitions
from inventory.services.plan import Plan
from inventory.services.questions import OPERATIONS as LESS_LATE
from inventory.services.relations import Relations
from inventory.services.vendors import edit_vendor, register_vendor

__all__ = [
    "LESS_LATE",
    "SEALED_FILES",
    "Became",
    "Draw",
    "House",
    "ImportOptions",
    "OwnFacts",
    "Plan",
    "Relations",
    "activate_key",
    "apply_due_transitions",
    "apply_import",
    "begin_import",
    "checked",
    "clear_imports",
    "confirm_import",
    "edit_key",
    "edit_owner",
    "edit_service",
    "edit_vendor",
    "end_exception",
    "expire_exceptions",
    "export_keys",
    "find_token",
    "forget_owners",
    "hold_edit",
    "note_master_key",
    "plan_import",
    "read_again",
    "refresh_findings",
    "register_key",
    "register_material_digest",
    "register_own_keys",
    "register_owner",
    "register_service",
    "register_vendor",
    "report_rotation",
    "review_findings",
    "set_threat_level",
    "take_file",
    "waiting_imports",
    "waiting_on",
    "work_off_import",
]
