"""What people answer about a file: kept with its draft, and of headers for the next file."""

from django.db import migrations, models

GRANTS = """
GRANT UPDATE (options) ON inventory_importdraft TO keyvault_web;
GRANT SELECT ON inventory_headermapping TO keyvault_app;
GRANT INSERT, UPDATE (field, used_at, used_by) ON inventory_headermapping TO keyvault_web;
"""


class Migration(migrations.Migration):
    dependencies = [("inventory", "0009_list_indexes")]

    operations = [
        migrations.RemoveField(model_name="importdraft", name="plan_digest"),
        migrations.AddField(model_name="importdraft", name="options", field=models.JSONField(default=dict)),
        migrations.CreateModel(
            name="HeaderMapping",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("header", models.CharField(max_length=200, unique=True)),
                ("field", models.CharField(blank=True, max_length=40)),
                ("used_at", models.DateTimeField()),
                ("used_by", models.CharField(max_length=40)),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("header", ""), _negated=True), name="headermapping_has_header"
                    )
                ],
            },
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
