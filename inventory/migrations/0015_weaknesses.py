"""What was seen in a public key or certificate before it was dropped, so that its findings stay open."""

import django.contrib.postgres.fields
from django.db import migrations, models

GRANTS = """
GRANT INSERT (weaknesses, expires_on), UPDATE (weaknesses, expires_on) ON public.inventory_keyversion TO keyvault_app;
"""


class Migration(migrations.Migration):
    dependencies = [("inventory", "0014_links")]

    operations = [
        migrations.AddField(
            model_name="keyversion",
            name="weaknesses",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=40),
                blank=True,
                db_default=[],
                default=list,
                editable=False,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="keyversion",
            name="expires_on",
            field=models.DateField(editable=False, null=True),
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
