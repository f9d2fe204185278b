"""Imports from the browser are worked off by a worker: the draft says what is to be done and how far it is.

The worker writes what the web process wrote before: the questions to DevOps that an import asks, and what people said of
headers. The web process may ask for a step and confirm one, and nothing else.
"""

from django.db import migrations, models

GRANTS = """
REVOKE DELETE ON inventory_importdraft FROM keyvault_web;
GRANT UPDATE (options, state, note) ON inventory_importdraft TO keyvault_web;
GRANT SELECT, DELETE,
    UPDATE (options, state, note, content, claims, leased_until, doing, rows_done, rows_total, preview, plan_digest)
    ON inventory_importdraft TO keyvault_worker;
GRANT INSERT, UPDATE (field, used_at, used_by) ON inventory_headermapping TO keyvault_worker;
GRANT INSERT, UPDATE (state, decided_at) ON inventory_heldchange TO keyvault_worker;
"""


class Migration(migrations.Migration):
    dependencies = [("inventory", "0011_list_speed")]

    operations = [
        migrations.RunSQL("DELETE FROM inventory_importdraft", migrations.RunSQL.noop),  # an hour old at most
        migrations.AddField("importdraft", "claims", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("importdraft", "doing", models.CharField(blank=True, max_length=20)),
        migrations.AddField("importdraft", "leased_until", models.DateTimeField(null=True)),
        migrations.AddField("importdraft", "note", models.TextField(blank=True)),
        migrations.AddField("importdraft", "plan_digest", models.CharField(blank=True, max_length=64)),
        migrations.AddField("importdraft", "preview", models.JSONField(default=dict)),
        migrations.AddField("importdraft", "rows_done", models.PositiveIntegerField(default=0)),
        migrations.AddField("importdraft", "rows_total", models.PositiveIntegerField(default=0)),
        migrations.AddField(
            "importdraft",
            "state",
            models.CharField(
                choices=[
                    ("reading", "being read"),
                    ("ready", "read"),
                    ("applying", "being imported"),
                    ("done", "imported"),
                    ("refused", "refused"),
                ],
                default="reading",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            "importdraft",
            models.CheckConstraint(
                condition=models.Q(("state__in", ["reading", "ready", "applying", "done", "refused"])),
                name="importdraft_state_known",
            ),
        ),
        migrations.AddConstraint(
            "importdraft",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["done", "refused"]), _negated=True), ("content", b""), _connector="OR"
                ),
                name="importdraft_keeps_nothing",
            ),
        ),
        migrations.AddConstraint(
            "importdraft",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "applying"), _negated=True),
                    models.Q(("plan_digest", ""), _negated=True),
                    _connector="OR",
                ),
                name="importdraft_applies_a_plan",
            ),
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
