"""Who may export the log, review what changed the state of keys, and see what is held about a person."""

from django.db import migrations

from keyvault_admin.access.role_migration import carry_matrix


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0010_personal_data"),
        ("audit", "0006_periods"),
        ("rotation", "0004_notice_indexes"),
    ]

    operations = [migrations.RunPython(carry_matrix, migrations.RunPython.noop)]
