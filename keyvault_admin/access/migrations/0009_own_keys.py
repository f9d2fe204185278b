"""A new sealing key: the command seals origins of sessions anew. Seeds it could write before, to reset factors."""

from django.db import migrations

GRANTS = "GRANT UPDATE (sealed_origin) ON access_session TO keyvault_command"


class Migration(migrations.Migration):
    dependencies = [("access", "0008_single_sign_on")]

    operations = [migrations.RunSQL(GRANTS, migrations.RunSQL.noop)]
