"""A notice names an owner that its statement has just read: nothing is looked up again for it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rotation", "0007_approval_rules")]

    operations = [
        migrations.AlterField(
            model_name="notice",
            name="owner",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="inventory.owner",
            ),
        ),
    ]
