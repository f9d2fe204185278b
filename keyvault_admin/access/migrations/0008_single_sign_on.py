"""Accounts at the provider of single sign-on that people have linked to themselves.

Web links and unlinks; the command unlinks when second factors are reset. Nobody deletes a link, because the log names
it, and nobody changes whose it is or which account.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

GRANTS = """
GRANT SELECT ON access_singlesignonlink TO keyvault_web, keyvault_command;
GRANT INSERT, UPDATE (confirmed, removed_at, last_used_at) ON access_singlesignonlink TO keyvault_web;
GRANT UPDATE (confirmed, removed_at) ON access_singlesignonlink TO keyvault_command;
"""


class Migration(migrations.Migration):
    dependencies = [("access", "0007_lockout")]

    operations = [
        migrations.CreateModel(
            name="SingleSignOnLink",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("confirmed", models.BooleanField(default=True, help_text="Is this device ready for use?")),
                (
                    "created_at",
                    models.DateTimeField(
                        auto_now_add=True,
                        help_text="The date and time when this device was initially created in the system.",
                        null=True,
                    ),
                ),
                (
                    "last_used_at",
                    models.DateTimeField(
                        blank=True, help_text="The most recent date and time this device was used.", null=True
                    ),
                ),
                ("name", models.CharField(default="Single sign-on", max_length=64)),
                ("issuer", models.CharField(max_length=255)),
                ("subject", models.CharField(max_length=255)),
                ("removed_at", models.DateTimeField(null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="single_sign_on_links",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "single sign-on",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("removed_at__isnull", True)),
                        fields=("issuer", "subject"),
                        name="access_singlesignonlink_one_person",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("removed_at__isnull", True)),
                        fields=("user", "issuer"),
                        name="access_singlesignonlink_one_account",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("confirmed", True), ("removed_at__isnull", True)),
                            models.Q(("confirmed", False), ("removed_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="access_singlesignonlink_removed_or_confirmed",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("issuer", ""), _negated=True), models.Q(("subject", ""), _negated=True)
                        ),
                        name="access_singlesignonlink_names_somebody",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
