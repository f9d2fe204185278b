"""What was found wrong with keys. Rows are opened and closed, never deleted; what was found, of which key and when stays."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

GRANTS = """
GRANT SELECT ON public.inventory_finding TO keyvault_app;
GRANT INSERT (key_id, code, severity, clause, opened_at, closed_at, facts) ON public.inventory_finding TO keyvault_app;
GRANT UPDATE (severity, clause, closed_at, facts) ON public.inventory_finding TO keyvault_app;
"""
IS_OPEN = Q(closed_at__isnull=True)
SEVERITIES = ["critical", "high", "medium", "low"]  # 1 to 4


class Migration(migrations.Migration):
    dependencies = [("inventory", "0007_held_changes")]

    operations = [
        migrations.CreateModel(
            name="Finding",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(max_length=40, verbose_name="what is wrong")),
                ("severity", models.PositiveSmallIntegerField(choices=list(enumerate(SEVERITIES, 1)))),
                ("clause", models.TextField()),
                ("opened_at", models.DateTimeField(verbose_name="open since")),
                ("closed_at", models.DateTimeField(null=True)),
                ("facts", models.JSONField(default=dict)),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="findings",
                        to="inventory.key",
                    ),
                ),
            ],
            options={
                "ordering": ["-pk"],
                "default_permissions": (),
                "indexes": [
                    models.Index(condition=IS_OPEN, fields=["severity", "id"], name="finding_open_worst"),
                    models.Index(condition=IS_OPEN, fields=["code", "severity", "id"], name="finding_open_code"),
                    models.Index(condition=IS_OPEN, fields=["id"], name="finding_open_newest"),
                    models.Index(
                        condition=Q(closed_at__isnull=False), fields=["severity", "id"], name="finding_closed_worst"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(condition=IS_OPEN, fields=("key", "code"), name="finding_open_once"),
                    models.CheckConstraint(condition=Q(severity__in=[1, 2, 3, 4]), name="finding_severity_known"),
                    models.CheckConstraint(
                        condition=IS_OPEN | Q(closed_at__gte=F("opened_at")), name="finding_closed_after_opened"
                    ),
                ],
            },
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
