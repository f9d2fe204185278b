"""Where people are signed in, tied to Django's sessions.

django_session holds digests of keys from now on, so nobody who was signed in before stays so.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Whoever deletes a session takes the row of the person with it: signing out, a sweep, the other processes.
TIE = """
DELETE FROM django_session;
ALTER TABLE access_session ADD CONSTRAINT access_session_dies_with_its_session
  FOREIGN KEY (session_id) REFERENCES django_session (session_key) ON DELETE CASCADE;
"""
# The worker clears what is over: it sees when, never what a session holds. Nobody but web opens sessions.
GRANTS = """
GRANT SELECT, INSERT, DELETE ON access_session TO keyvault_web;
GRANT UPDATE (session_id, last_seen_at, verified_by, wrong_codes) ON access_session TO keyvault_web;
GRANT SELECT ON access_session TO keyvault_command;
GRANT SELECT (id, session_id, person_id, opened_at, last_seen_at) ON access_session TO keyvault_worker;
GRANT SELECT (session_key, expire_date), DELETE ON django_session TO keyvault_worker;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0004_factors"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="PersonSession",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("opened_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("verified_by", models.CharField(blank=True, max_length=100)),
                ("wrong_codes", models.PositiveSmallIntegerField(default=0)),
                ("sealed_origin", models.BinaryField()),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sessions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "session",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="sessions.session",
                    ),
                ),
            ],
            options={
                "db_table": "access_session",
                "ordering": ["-last_seen_at", "-pk"],
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("last_seen_at__gte", models.F("opened_at"))),
                        name="access_session_seen_after_opening",
                    )
                ],
            },
        ),
        migrations.RunSQL(TIE, migrations.RunSQL.noop),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
