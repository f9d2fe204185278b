"""The five groups, and the permissions they need before any model of theirs exists."""

from django.db import migrations

from keyvault_admin.access.role_migration import carry_matrix


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0002_grants"),
    ]

    operations = [migrations.RunPython(carry_matrix, migrations.RunPython.noop)]
