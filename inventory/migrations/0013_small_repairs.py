"""Owners, services and vendors get a revision; each digest of material says under which digest key it was made.

Until now there was one digest key, so every digest there is belongs to the present one.
"""

import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from audit.sealing import digest_epochs

CONSTRAINT = "keyversion_reuse_digest_whole"
GRANTS = """
GRANT INSERT (revision), UPDATE (revision) ON public.inventory_owner, public.inventory_service, public.inventory_vendor
    TO keyvault_app;
"""


def add_epoch(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    present = digest_epochs()[0]
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "UPDATE public.inventory_keyversion SET reuse_digest = %s || reuse_digest WHERE length(reuse_digest) = 32",
            [present],
        )


def whole(length: int) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=models.Q(
            ("reuse_digest__isnull", True),
            django.db.models.lookups.Exact(django.db.models.functions.text.Length("reuse_digest"), length),
            _connector="OR",
        ),
        name=CONSTRAINT,
    )


class Migration(migrations.Migration):
    dependencies = [("inventory", "0012_import_jobs")]

    operations = [
        *(
            migrations.AddField(name, "revision", models.PositiveIntegerField(default=1, editable=False))
            for name in ("owner", "service", "vendor")
        ),
        migrations.AlterField("owner", "is_active", models.BooleanField(default=True, verbose_name="still here")),
        migrations.AlterField(
            "policyclause", "is_in_force", models.BooleanField(default=True, verbose_name="in force")
        ),
        migrations.RemoveConstraint("keyversion", CONSTRAINT),
        migrations.RunPython(add_epoch, migrations.RunPython.noop, elidable=False),
        migrations.AddConstraint("keyversion", whole(36)),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
