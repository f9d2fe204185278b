"""Checks of the log: it is verified and whole, it is signed, and what is signed leaves this database."""

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from audit.alerts import Alert, found_altered, not_anchored, not_shipped, not_signed, not_verified
from audit.anchors import AnchorError, configured_anchors
from audit.exports.sinks import SinkError, configured_sinks
from keyvault_admin.checks.rules import Answer, Group, Rule


def anchors_can_be_read() -> Answer:
    try:
        anchors = configured_anchors()
    except AnchorError as error:
        return Answer(str(error), "Mend KEYVAULT_ANCHORS: docs/checkpoints.md shows each kind.")
    if anchors:
        return Answer(f"{len(anchors)} anchors are named, and can be read.")
    return Answer("This process names no anchors; the signer needs them.")


def sinks_can_be_read() -> Answer:
    try:
        sinks = configured_sinks()
    except SinkError as error:
        return Answer(str(error), "Mend KEYVAULT_SIEM: docs/exports.md shows each kind.")
    return Answer(f"{len(sinks)} addresses of a SIEM are named, and can be read.")


def log_leaves() -> Answer:
    return _judged(not_shipped, "No event has waited an hour for a SIEM.")


def log_is_signed() -> Answer:
    return _judged(not_signed, "No event has waited too long for a checkpoint.")


def checkpoints_leave() -> Answer:
    return _judged(not_anchored, "No checkpoint has waited an hour for an anchor.")


def log_is_verified() -> Answer:
    return _judged(not_verified, "The audit log was verified within a day.")


def log_is_whole() -> Answer:
    return _judged(found_altered, "No verification has found the audit log altered.")


def _judged(look: Callable[[datetime], Alert | None], well: str) -> Answer:
    alert = look(timezone.now())
    if alert is None:
        return Answer(well)
    return Answer(f"{alert.said}.", f"{alert.mend[0].upper()}{alert.mend[1:].rstrip('.')}.")


RULES = (
    Rule("face.E027", Group.HOUSE, "the anchors can be read", anchors_can_be_read),
    Rule("face.E028", Group.HOUSE, "the addresses of a SIEM can be read", sinks_can_be_read),
)
LIVE = (
    Rule("face.W009", Group.DATABASE, "the audit log is signed", log_is_signed),
    Rule("face.W010", Group.DATABASE, "checkpoints leave the database", checkpoints_leave),
    Rule("face.W011", Group.DATABASE, "the audit log leaves for the SIEM", log_leaves),
    Rule("face.W012", Group.DATABASE, "the audit log is verified", log_is_verified),
    Rule("face.W013", Group.DATABASE, "the audit log is whole", log_is_whole),
)
