"""What people are given by votes, the worker carries out."""

from django.db import migrations

from keyvault_admin.access.role_migration import carry_matrix


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0011_proof"),
        ("audit", "0007_retention"),
        ("inventory", "0019_no_held_changes"),
        ("rotation", "0007_approval_rules"),
    ]

    operations = [migrations.RunPython(carry_matrix, migrations.RunPython.noop)]
