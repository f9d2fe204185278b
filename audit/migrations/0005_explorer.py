"""Indexes of the log for the filters of its page. Partitions that exist get them now, later ones when they are attached.

In each the number follows what is looked for, so a page of any filter is read in the order of the log and costs the same
at its end. What stands behind the number is compared in the index, so that two filters together fetch no event in vain.
What most events have (the outcome "done", nobody on whose behalf, no path) is in none of its own: it narrows nothing.
"""

from django.db import migrations

INDEXES = {
    "audit_event_action": "(action, number, outcome)",
    "audit_event_actor": "(actor_id, number, action, outcome)",
    "audit_event_behalf": "(on_behalf_of, number, actor_id, action, outcome) WHERE on_behalf_of <> ''",
    "audit_event_door": "(substr(path, strpos(path, ' ') + 1), number) WHERE path <> ''",
    "audit_event_noun": "(split_part(action, '.', 1), number, outcome)",
    "audit_event_outcome": "(outcome, number) WHERE outcome <> 'done'",
    "audit_event_recorded": "(recorded_at)",
}
NARROWER = {"audit_event_action": "(action, number)", "audit_event_actor": "(actor_id, number)"}  # of 0001


def made(name: str, columns: str) -> str:
    return f"CREATE INDEX {name} ON public.audit_event {columns}"


def dropped(name: str) -> str:
    return f"DROP INDEX public.{name}"


class Migration(migrations.Migration):
    dependencies = [("audit", "0004_exports")]

    operations = [
        *(migrations.RunSQL(dropped(name), made(name, columns)) for name, columns in NARROWER.items()),
        *(migrations.RunSQL(made(name, columns), dropped(name)) for name, columns in INDEXES.items()),
    ]
