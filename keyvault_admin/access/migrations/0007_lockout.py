"""Lockouts, and the rights on the counters of django-axes.

Its tables can hold names, addresses, agents and forms as they were typed. The constraint sees to it that only digests
get in, whoever writes; nobody may touch the other tables of that package.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

DIGESTS_ONLY = """
ALTER TABLE axes_accessattempt ADD CONSTRAINT access_tries_digests_only CHECK (
    username IS NOT NULL AND username ~ '^[0-9a-f]{64}$'
    AND ip_address IS NOT NULL AND ip_address <<= 'fd00::/8'::inet
    AND user_agent = '' AND http_accept = '' AND path_info = '' AND get_data = '' AND post_data = ''
);
"""
ANYTHING = "ALTER TABLE axes_accessattempt DROP CONSTRAINT access_tries_digests_only;"
GRANTS = """
GRANT SELECT, INSERT, DELETE ON axes_accessattempt TO keyvault_web;
GRANT UPDATE (failures_since_start, attempt_time) ON axes_accessattempt TO keyvault_web;
GRANT SELECT, DELETE ON axes_accessattempt TO keyvault_worker, keyvault_command;

GRANT SELECT, INSERT ON access_lockout TO keyvault_web;
GRANT SELECT, DELETE ON access_lockout TO keyvault_worker;
GRANT UPDATE (told_at) ON access_lockout TO keyvault_worker;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0006_people"),
        ("axes", "0010_accessattemptexpiration"),
    ]

    operations = [
        migrations.CreateModel(
            name="Lockout",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("locked_at", models.DateTimeField(db_index=True)),
                ("told_at", models.DateTimeField(null=True)),
                (
                    "person",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lockouts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("told_at__isnull", True), ("person__isnull", False), _connector="OR"),
                        name="access_lockout_told_somebody",
                    )
                ],
            },
        ),
        migrations.RunSQL(DIGESTS_ONLY, ANYTHING),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
