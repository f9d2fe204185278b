"""A notice names a key that its statement has just read: nothing is looked up again for it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rotation", "0009_hands")]

    operations = [
        migrations.AlterField(
            model_name="notice",
            name="key",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="notices",
                to="inventory.key",
            ),
        ),
    ]
