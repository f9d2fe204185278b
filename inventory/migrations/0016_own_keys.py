"""The installation's own keys: which record is which, and rotations that a command reports.

The command may also seal anew what waits to be imported, when there is a new sealing key.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

GRANTS = """
GRANT SELECT ON public.inventory_ownkey TO keyvault_app;
GRANT INSERT, UPDATE (material_id) ON public.inventory_ownkey TO keyvault_command;
GRANT SELECT (id, uploaded_by_id, content), UPDATE (content) ON public.inventory_importdraft TO keyvault_command;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0015_weaknesses"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="OwnKey",
            fields=[
                ("code", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("material_id", models.CharField(max_length=8)),
                (
                    "key",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="own_key", to="inventory.key"
                    ),
                ),
            ],
            options={"default_permissions": ()},
        ),
        migrations.AddConstraint(
            model_name="ownkey",
            constraint=models.CheckConstraint(
                condition=models.Q(material_id__regex="^[0-9a-f]{8}$"), name="ownkey_has_a_short_id"
            ),
        ),
        migrations.AlterField(
            model_name="rotationevidence",
            name="reported_by",
            field=models.ForeignKey(
                null=True,
                blank=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
