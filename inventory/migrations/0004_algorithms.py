"""The table of algorithms, with the data it is judged by.

It is loaded from a file, which is never edited: what comes next is a file and a migration of its own.
"""

from datetime import date
from pathlib import Path

from django.apps.registry import Apps
from django.db import migrations, models

from inventory.algorithms import read_table

TABLE = Path(__file__).resolve().parent.parent / "data" / "algorithm_policy.csv"
READ_ON = date(2026, 11, 21)  # when the table was read from its sources: its statuses hold on that day
GRANT = "GRANT SELECT ON public.inventory_algorithm TO keyvault_app"


def load(apps: Apps, schema_editor: object) -> None:
    algorithms = apps.get_model("inventory", "Algorithm").objects
    rows = read_table(TABLE.read_text(encoding="utf-8"), read_on=READ_ON)
    algorithms.bulk_create([algorithms.model(**vars(row)) for row in rows])


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0003_rotation_clauses"),
    ]

    operations = [
        migrations.CreateModel(
            name="Algorithm",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("algorithm", models.CharField(max_length=80)),
                ("parameters", models.CharField(blank=True, max_length=80)),
                ("use", models.CharField(max_length=80)),
                (
                    "status_new",
                    models.CharField(
                        choices=[
                            ("approved", "approved"),
                            ("exception", "exception"),
                            ("legacy", "legacy"),
                            ("not-yet", "not yet"),
                            ("prohibited", "prohibited"),
                        ],
                        max_length=20,
                        verbose_name="for new keys",
                    ),
                ),
                (
                    "status_existing",
                    models.CharField(
                        choices=[
                            ("approved", "approved"),
                            ("exception", "exception"),
                            ("legacy", "legacy"),
                            ("not-yet", "not yet"),
                            ("prohibited", "prohibited"),
                        ],
                        max_length=20,
                        verbose_name="for existing keys",
                    ),
                ),
                ("classical_bits", models.PositiveIntegerField(null=True, verbose_name="strength in bits")),
                ("pq_safe", models.CharField(blank=True, max_length=20, verbose_name="quantum-safe")),
                ("effective_from", models.DateField(null=True, verbose_name="from")),
                ("effective_to", models.DateField(null=True, verbose_name="until")),
                ("source", models.CharField(max_length=200)),
                (
                    "source_status",
                    models.CharField(
                        choices=[
                            ("final", "final"),
                            ("policy", "policy"),
                            ("draft", "draft"),
                            ("draft-date", "draft date"),
                        ],
                        max_length=20,
                    ),
                ),
                ("read_on", models.DateField(verbose_name="read on")),
            ],
            options={
                "ordering": ["pk"],
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("algorithm", "parameters", "use"), name="algorithm_unique"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status_existing__in", ["approved", "exception", "legacy", "not-yet", "prohibited"]),
                            ("status_new__in", ["approved", "exception", "legacy", "not-yet", "prohibited"]),
                        ),
                        name="algorithm_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("source_status__in", ["final", "policy", "draft", "draft-date"])),
                        name="algorithm_source_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("effective_from__isnull", True),
                            ("effective_to__isnull", True),
                            ("effective_to__gte", models.F("effective_from")),
                            _connector="OR",
                        ),
                        name="algorithm_ends_after_it_begins",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GRANT, migrations.RunSQL.noop),
        migrations.RunPython(load, migrations.RunPython.noop),
    ]
