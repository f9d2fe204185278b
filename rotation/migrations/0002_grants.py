"""Who may write notices and digests. What was told to people is never deleted."""

from django.db import migrations

GRANTS = """
GRANT SELECT, INSERT ON public.rotation_notice, public.rotation_digest TO keyvault_app;
GRANT UPDATE (digest_id) ON public.rotation_notice TO keyvault_app;
GRANT UPDATE (state, attempts, next_attempt_at, leased_until, sent_at, last_error) ON public.rotation_digest TO keyvault_app;
"""


class Migration(migrations.Migration):
    dependencies = [("rotation", "0001_notices")]

    operations = [migrations.RunSQL(GRANTS, migrations.RunSQL.noop)]
