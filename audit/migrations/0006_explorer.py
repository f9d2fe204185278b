"""Indexes of the log for the filters of its page. Partitions that exist get them now, later ones when they are attached.

Each ends in the number, so that a page of any filter is read in the order of the log and costs the same at the end. What
most events have (the outcome "done", nobody on whose behalf, no path) is in none: it narrows nothing.
"""

from django.db import migrations

INDEXES = {
    "audit_event_recorded": "(recorded_at)",
    "audit_event_noun": "(split_part(action, '.', 1), number)",
    "audit_event_actor_action": "(actor_id, action, number)",
    "audit_event_behalf": "(on_behalf_of, number) WHERE on_behalf_of <> ''",
    "audit_event_outcome": "(outcome, number) WHERE outcome <> 'done'",
    "audit_event_door": "(substr(path, strpos(path, ' ') + 1), number) WHERE path <> ''",
}


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_exports")]

    operations = [
        migrations.RunSQL(f"CREATE INDEX {name} ON public.audit_event {columns}", f"DROP INDEX public.{name}")
        for name, columns in INDEXES.items()
    ]
