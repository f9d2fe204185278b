"""What each role may do with KEKs, DEKs and re-wrap jobs."""

from django.db import migrations

from keyvault_admin.access.role_migration import carry_matrix


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0012_votes"),
        ("audit", "0008_certificates"),
        ("inventory", "0020_custody"),
        ("rotation", "0011_orders"),
    ]

    operations = [
        migrations.RunPython(carry_matrix, migrations.RunPython.noop),
    ]
