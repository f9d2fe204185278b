"""Every field of the inventory's records: replayed from the log, derived from what is replayed, or not in the log.

A test compares this table with the models, so that a new field cannot be forgotten. docs/replay.md explains it.
"""

from collections.abc import Mapping
from enum import StrEnum

REPLAYED, DERIVED = "replayed", "derived"


class Why(StrEnum):
    """Why the log does not say something."""

    NUMBER = "the number of a row, by which the log refers to the record"
    PERSON = "names and addresses of people stay out of the hashed bytes; that somebody has an address is compared"
    MATERIAL = "a keyed digest of key material is never recorded; the event of a look-up or registration is"
    NOTICE = "when somebody is told next follows from the settings of the installation and from what mail went out"
    FOLLOWS = "follows from the record and the clauses of the day; which finding is open, and since when, is compared"


def _all(how: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), how)


FIELDS: Mapping[str, Mapping[str, str]] = {
    "Key": {
        "id": Why.NUMBER,
        **_all(
            REPLAYED,
            "name kind creator owner service purpose created_on last_rotated_on never_rotated environment "
            "classification access is_shared algorithm size_bits storage_medium storage_location is_exportable "
            "generation_method tenant integration secret_name vendor runbook_url labels notes activates_at "
            "protect_until process_until state current_number flagged_overdue_at revision",
        ),
        **_all(DERIVED, "rotate_by winning_clause accepted_until"),
        "next_notice_at": Why.NOTICE,
    },
    "KeyVersion": {
        "id": Why.NUMBER,
        **_all(
            REPLAYED,
            "key number state generated_on activated_at suspended_at deactivated_at compromised_at destroyed_at "
            "revoked_at revocation_reason weaknesses expires_on",
        ),
        "reuse_digest": Why.MATERIAL,
    },
    "KeyConsumer": {"id": Why.NUMBER, **_all(REPLAYED, "key service is_approved")},
    "KeyParent": {"id": Why.NUMBER, **_all(REPLAYED, "child parent relation")},
    "RotationEvidence": _all(REPLAYED, "id key rotated_on text url reported_by reported_at"),
    "Finding": {
        "id": Why.NUMBER,
        **_all(REPLAYED, "key code opened_at closed_at"),
        **_all(Why.FOLLOWS, "severity clause facts accepted_until"),
    },
    "PolicyException": _all(
        REPLAYED,
        "id key clause compensating_control residual_risk reason granted_at until longest_days request state closed_at "
        "closed_by closed_because",
    ),
    "Owner": {
        "id": Why.NUMBER,
        **_all(REPLAYED, "kind user is_active revision"),
        **_all(Why.PERSON, "handle mail"),
    },
    "Service": {"id": Why.NUMBER, **_all(REPLAYED, "name description team tier data_classes vendor revision")},
    "Tenant": {"id": Why.NUMBER, **_all(REPLAYED, "name")},
    "Integration": {"id": Why.NUMBER, **_all(REPLAYED, "name")},
    "Vendor": {"id": Why.NUMBER, **_all(REPLAYED, "name notes revision")},
    "PolicyClause": {
        "id": Why.NUMBER,
        **_all(
            REPLAYED,
            "code source document section text requirement kinds environments classifications access "
            "longest_age_days on_events smallest_strength_bits forbidden_media allowed_media not_exportable "
            "runbook_required separate_per_environment separate_from_production is_in_force revision",
        ),
    },
    "ThreatLevel": {
        "id": Why.NUMBER,
        **_all(REPLAYED, "level elevated_percent high_percent changed_at revision"),
    },
}
NO_RECORDS: Mapping[str, str] = {
    "Algorithm": "a table that migrations load; no process of the application writes it",
    "DekVersion": "what binds wrapped bytes to a DEK, and when they went; the events dek.* tell it",
    "ExceptionLimit": "a table that migrations load; no process of the application writes it",
    "HandOut": "which service has which copy of a wrapped DEK; dek.handed_out and dek.hand_out_confirmed tell it",
    "HeaderMapping": "what people said of the headers of files, proposed for the next file",
    "ImportDraft": "work in progress; what it does to the inventory leaves its own events",
    "Kek": "where a KEK lives and what was seen there last; fsck compares it with the key store",
    "KekVersion": "how a key store has a version, as last seen; fsck compares it with the store",
    "KekVersionHold": "what outside needs a version of a KEK; kek.held and kek.released tell it",
    "KeySearch": "the words a search reads, kept by triggers of the database from replayed fields",
    "OwnKey": "which record is which of the installation's own keys; every start compares their ids and reports",
    "Wrapping": "wrapped bytes: a batch of a re-wrap leaves a digest in the log; fsck opens and compares them",
}
