"""Least privilege on Django's tables and on people. Identity columns need no grant on their sequences.

Nobody may touch django_admin_log: what happened is written to the audit log, and only there. No login role changes
roles' permissions; only a command, on the machine, makes people, gives roles, issues links or deactivates.
The worker sees no password hash; beat and signer see no people.
"""

from django.db import migrations

GRANTS = """
GRANT SELECT ON django_migrations, django_content_type, auth_permission, auth_group, auth_group_permissions TO keyvault_app;
GRANT SELECT ON access_user_user_permissions TO keyvault_web, keyvault_command;
GRANT SELECT, INSERT, UPDATE, DELETE ON django_session TO keyvault_web;
GRANT SELECT, DELETE ON django_session TO keyvault_command;

GRANT SELECT ON access_user, access_totpdevice, access_enrolmentlink, access_bootstrapclosing TO keyvault_web, keyvault_command;
GRANT SELECT (id, username, email, full_name, is_active, date_joined) ON access_user TO keyvault_worker;
GRANT SELECT ON access_user_groups TO keyvault_web, keyvault_worker, keyvault_command;

GRANT UPDATE (password, last_login) ON access_user TO keyvault_web;
GRANT INSERT, UPDATE ON access_user TO keyvault_command;
GRANT INSERT, DELETE ON access_user_groups TO keyvault_command;

GRANT INSERT, UPDATE ON access_totpdevice TO keyvault_web, keyvault_command;
GRANT UPDATE (used_at) ON access_enrolmentlink TO keyvault_web;
GRANT INSERT, UPDATE ON access_enrolmentlink TO keyvault_command;
GRANT INSERT ON access_bootstrapclosing TO keyvault_web, keyvault_command;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0001_people"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("sessions", "0001_initial"),
    ]

    operations = [migrations.RunSQL(GRANTS, migrations.RunSQL.noop)]
