"""Changes that wait are requests now. What waited is gone, since nobody has voted on it: it has to be asked again."""

from django.db import migrations

# What the log has of them stays; what anybody was permitted to do with them goes with them.
PERMISSIONS = """
DELETE FROM auth_group_permissions WHERE permission_id IN (
    SELECT p.id FROM auth_permission p JOIN django_content_type t ON t.id = p.content_type_id
     WHERE t.app_label = 'inventory' AND t.model = 'heldchange');
DELETE FROM auth_permission WHERE content_type_id IN (
    SELECT id FROM django_content_type WHERE app_label = 'inventory' AND model = 'heldchange');
DELETE FROM django_content_type WHERE app_label = 'inventory' AND model = 'heldchange';
"""

# Backwards: as 0007 and 0012 grant them.
GRANTS = """
GRANT SELECT ON inventory_heldchange TO keyvault_app;
GRANT INSERT ON inventory_heldchange TO keyvault_web, keyvault_command, keyvault_worker;
GRANT UPDATE (state, decided_by_id, decided_at, decision_reason) ON inventory_heldchange TO keyvault_web, keyvault_command;
GRANT UPDATE (state, decided_at) ON inventory_heldchange TO keyvault_worker;
"""


class Migration(migrations.Migration):
    dependencies = [("inventory", "0018_exceptions")]

    operations = [
        migrations.RunSQL(migrations.RunSQL.noop, GRANTS),
        migrations.DeleteModel("HeldChange"),
        migrations.RunSQL(PERMISSIONS, migrations.RunSQL.noop),
    ]
