"""What the command needs to erase a person and to export what is held about them; no other login gets anything."""

from django.db import migrations

GRANTS = """
GRANT UPDATE (name, credential_id, public_key, user_handle) ON access_passkey TO keyvault_command;
GRANT UPDATE (subject) ON access_singlesignonlink TO keyvault_command;
GRANT SELECT, DELETE ON access_lockout TO keyvault_command;
GRANT SELECT (uploaded_at, file_name, reason, state) ON inventory_importdraft TO keyvault_command;
GRANT UPDATE (recipient, subject, text, html) ON rotation_digest TO keyvault_command;
GRANT UPDATE (recipient) ON rotation_notice TO keyvault_command;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0009_own_keys"),
        ("inventory", "0016_own_keys"),
        ("rotation", "0002_grants"),
    ]

    operations = [migrations.RunSQL(GRANTS, migrations.RunSQL.noop)]
