"""What the beat asks for, and how often. Each entry is a nudge: whatever is missed is found by the next one."""

from datetime import timedelta
from typing import Any

from celery.schedules import crontab

SCHEDULE: dict[str, dict[str, Any]] = {
    # Every hour: what has become late is flagged and its notices are written.
    "flag-overdue": {"task": "rotation.tasks.flag_overdue", "schedule": timedelta(hours=1)},
    # Every minute: keys come into use, and stop protecting, at the dates said at their registration.
    "apply-due-transitions": {"task": "inventory.tasks.apply_due_transitions", "schedule": timedelta(minutes=1)},
    # Every minute: exceptions whose day has come are closed; their keys count as overdue from that moment on anyway.
    "expire-exceptions": {"task": "inventory.tasks.expire_exceptions", "schedule": timedelta(minutes=1)},
    # Every minute: files that wait to be read or imported, because nobody was nudged or a worker died; old ones go.
    "work-off-imports": {"task": "inventory.tasks.work_off_imports", "schedule": timedelta(minutes=1)},
    # Every minute: notices become digests, digests become mail; finds whatever was not nudged.
    "deliver-mail": {"task": "rotation.tasks.deliver_mail", "schedule": timedelta(minutes=1)},
    # Every minute: approved requests are carried out, because nobody was nudged or a worker died.
    "carry-out-requests": {"task": "rotation.tasks.carry_out_requests", "schedule": timedelta(minutes=1)},
    # Every minute: requests that nobody decided in time expire, and who could vote is reminded before that.
    "tend-requests": {"task": "rotation.tasks.tend_requests", "schedule": timedelta(minutes=1)},
    # Every hour: reviews of periods that are over are opened, and what is not signed yet is reminded of.
    "tend-reviews": {"task": "rotation.tasks.tend_reviews", "schedule": timedelta(hours=1)},
    # Every minute: what one person did alone and nobody has looked at in time is flagged and reminded of; what is
    # suspended for 72 hours becomes a duty.
    "tend-duties": {"task": "rotation.tasks.tend_duties", "schedule": timedelta(minutes=1)},
    # Every five minutes: sessions that are over are deleted, so that no clock set back finds them again.
    "clear-sessions": {"task": "keyvault_admin.access.tasks.clear_sessions", "schedule": timedelta(minutes=5)},
    # Every hour: the log learns which master key the worker holds, so that its record can follow.
    "note-master-key": {"task": "inventory.tasks.note_master_key", "schedule": timedelta(hours=1)},
    # Every night: what time alone finds wrong with a key, such as an algorithm whose day has come.
    "review-findings": {"task": "inventory.tasks.review_findings", "schedule": crontab(hour="2", minute="30")},
    # Every night: the tables are compared with what the log says, and Security is told where they differ.
    "compare-with-log": {"task": "rotation.tasks.compare_with_log", "schedule": crontab(hour="3", minute="45")},
    # Every minute: the same, because a person asked for it and nobody was nudged.
    "compare-if-asked": {"task": "inventory.tasks.compare_if_asked", "schedule": timedelta(minutes=1)},
    # Every minute: accounts whose last day is over are deactivated; sign-in refuses them from midnight on anyway.
    "end-accounts": {"task": "keyvault_admin.access.tasks.end_accounts", "schedule": timedelta(minutes=1)},
    # Every minute: whose sign-in was locked gets a mail, once a day at most.
    "tell-locked": {"task": "keyvault_admin.access.tasks.tell_locked", "schedule": timedelta(minutes=1)},
    # Every hour: counters of wrong tries that count no more are deleted.
    "forget-tries": {"task": "keyvault_admin.access.tasks.forget_tries", "schedule": timedelta(hours=1)},
    # Every minute: the signer makes a checkpoint when one is due, and takes those that wait to the anchors.
    "tend-checkpoints": {
        "task": "audit.tasks.tend_checkpoints",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 50},  # while no signer runs, these do not pile up
    },
    # Every minute: the signer signs the certificates that wait.
    "sign-certificates": {
        "task": "audit.tasks.sign_certificates",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 50},
    },
    # Every minute: what was ordered from key stores is taken a step further, looked at again, or taken back.
    "carry-out-orders": {"task": "rotation.tasks.carry_out_orders", "schedule": timedelta(minutes=1)},
    # Every hour: each KEK is looked at in its store: what others have changed there, and stores that went back.
    "look-at-keks": {"task": "rotation.tasks.look_at_keks", "schedule": timedelta(hours=1)},
    # Every minute: the worker ships what is new in the audit log to the sinks of KEYVAULT_SIEM.
    "ship-audit-log": {
        "task": "audit.tasks.ship_log",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 50},
    },
    # Every night: the whole audit log is verified, in the worker and on all cores.
    "verify-audit-log": {"task": "audit.tasks.verify_log", "schedule": crontab(hour="3", minute="10")},
    # Every hour: partitions of the audit log are made ahead of need.
    "extend-audit-log": {"task": "audit.tasks.extend_log", "schedule": timedelta(hours=1)},
}
