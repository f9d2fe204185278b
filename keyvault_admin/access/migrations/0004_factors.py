"""Passkeys, recovery codes, and second factors that are removed without being forgotten.

Web adds factors of whoever is signed in and takes them away; the command takes them away when they are reset. Nobody
deletes one, because the log names it, and nobody changes the key of a passkey or the digest of a code.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

GRANTS = """
GRANT SELECT ON access_passkey, access_recoverysheet, access_recoverycode TO keyvault_web, keyvault_command;
GRANT INSERT, UPDATE (sign_count, last_used_at, confirmed, removed_at) ON access_passkey TO keyvault_web;
GRANT UPDATE (confirmed, removed_at) ON access_passkey TO keyvault_command;
GRANT INSERT, UPDATE ON access_recoverysheet TO keyvault_web, keyvault_command;
GRANT INSERT, UPDATE (used_at, voided_at) ON access_recoverycode TO keyvault_web, keyvault_command;
"""


class Migration(migrations.Migration):
    dependencies = [("access", "0003_roles")]

    operations = [
        migrations.CreateModel(
            name="Passkey",
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
                ("name", models.CharField(max_length=64)),
                ("credential_id", models.BinaryField(max_length=1023, unique=True)),
                ("public_key", models.BinaryField(max_length=1023)),
                ("user_handle", models.BinaryField(max_length=64)),
                ("sign_count", models.BigIntegerField(default=0)),
                ("removed_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "passkey",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="RecoveryCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code_digest", models.BinaryField(unique=True)),
                ("made_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(null=True)),
                ("voided_at", models.DateTimeField(null=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="RecoverySheet",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("confirmed", models.BooleanField(default=True, help_text="Is this device ready for use?")),
                (
                    "throttling_failure_timestamp",
                    models.DateTimeField(
                        blank=True,
                        default=None,
                        help_text="A timestamp of the last failed verification attempt. Null if last attempt succeeded.",
                        null=True,
                    ),
                ),
                (
                    "throttling_failure_count",
                    models.PositiveIntegerField(default=0, help_text="Number of successive failed attempts."),
                ),
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
                ("name", models.CharField(default="Recovery codes", max_length=64)),
            ],
            options={
                "verbose_name": "recovery codes",
                "default_permissions": (),
            },
        ),
        migrations.RemoveConstraint(
            model_name="totpdevice",
            name="access_totpdevice_one_pending",
        ),
        migrations.AddField(
            model_name="totpdevice",
            name="removed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddConstraint(
            model_name="totpdevice",
            constraint=models.UniqueConstraint(
                condition=models.Q(("confirmed", False), ("removed_at__isnull", True)),
                fields=("user",),
                name="access_totpdevice_one_pending",
            ),
        ),
        migrations.AddConstraint(
            model_name="totpdevice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("removed_at__isnull", True), models.Q(("confirmed", False), ("sealed_seed", b"")), _connector="OR"
                ),
                name="access_totpdevice_removed_is_empty",
            ),
        ),
        migrations.AddField(
            model_name="passkey",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="passkeys", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="recoverysheet",
            name="user",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="recovery_sheet", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="recoverycode",
            name="sheet",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="codes", to="access.recoverysheet"
            ),
        ),
        migrations.AddConstraint(
            model_name="passkey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("confirmed", True), ("removed_at__isnull", True)),
                    models.Q(("confirmed", False), ("removed_at__isnull", False)),
                    _connector="OR",
                ),
                name="access_passkey_removed_or_confirmed",
            ),
        ),
        migrations.AddConstraint(
            model_name="passkey",
            constraint=models.CheckConstraint(
                condition=models.Q(("sign_count__gte", 0)), name="access_passkey_sign_count_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="recoverycode",
            constraint=models.CheckConstraint(
                condition=models.Q(("used_at__isnull", True), ("voided_at__isnull", True), _connector="OR"),
                name="access_recoverycode_used_or_voided",
            ),
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
