"""Pages on which Security keeps people: what web may write of them, end dates, and reviews of a restored quorum.

Web may not write `is_superuser`, nor give a role, nor bring somebody back who was deactivated: the first is no column
of its grants, the second no table, the third is refused by a trigger, because a grant cannot tell true from false.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from keyvault_admin.access.role_migration import carry_matrix

GRANTS = """
GRANT INSERT (username, email, full_name, password, last_login, is_active, date_joined, ends_on),
      UPDATE (email, full_name, is_active, ends_on) ON public.access_user TO keyvault_web;
GRANT DELETE ON public.access_user_groups TO keyvault_web;
GRANT INSERT, UPDATE (voided_at) ON public.access_enrolmentlink TO keyvault_web;

GRANT SELECT (ends_on), UPDATE (is_active) ON public.access_user TO keyvault_worker;

GRANT SELECT ON public.access_quorumreview TO keyvault_web, keyvault_command;
GRANT INSERT ON public.access_quorumreview TO keyvault_command;
GRANT UPDATE (acknowledged_at, acknowledged_by_id, comment) ON public.access_quorumreview TO keyvault_web;
"""

# An acknowledged review stays as it is, too: nobody takes an acknowledgement back or puts their name under another's.
TRIGGERS = """
CREATE FUNCTION public.access_user_stays_out() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF session_user IN ('keyvault_web', 'keyvault_worker') THEN
        RAISE EXCEPTION 'only a command on the machine re-activates a person' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER access_user_stays_out BEFORE UPDATE OF is_active ON public.access_user
    FOR EACH ROW WHEN (NEW.is_active AND NOT OLD.is_active) EXECUTE FUNCTION public.access_user_stays_out();

CREATE FUNCTION public.access_quorumreview_is_final() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'this review is acknowledged already' USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER access_quorumreview_is_final BEFORE UPDATE ON public.access_quorumreview
    FOR EACH ROW WHEN (OLD.acknowledged_at IS NOT NULL) EXECUTE FUNCTION public.access_quorumreview_is_final();

REVOKE ALL ON FUNCTION public.access_user_stays_out(), public.access_quorumreview_is_final() FROM PUBLIC;
"""
UNDO = """
DROP TRIGGER access_user_stays_out ON public.access_user;
DROP FUNCTION public.access_user_stays_out(), public.access_quorumreview_is_final() CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [("access", "0005_sessions")]

    operations = [
        migrations.AlterModelOptions(
            name="user",
            options={
                "base_manager_name": "objects",
                "default_permissions": ("view",),
                "ordering": ["username"],
                "permissions": [("manage_people", "Can add, change and deactivate people")],
                "verbose_name": "person",
                "verbose_name_plural": "people",
            },
        ),
        migrations.AddField(
            model_name="user",
            name="ends_on",
            field=models.DateField(blank=True, null=True, verbose_name="works until"),
        ),
        migrations.AlterField(
            model_name="user",
            name="is_superuser",
            field=models.BooleanField(db_default=False, default=False, verbose_name="superuser"),
        ),
        migrations.CreateModel(
            name="QuorumReview",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("role", models.CharField(max_length=20)),
                ("reason", models.CharField(max_length=500)),
                ("restored_at", models.DateTimeField()),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("comment", models.CharField(blank=True, max_length=500)),
                (
                    "acknowledged_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["restored_at", "pk"],
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("acknowledged_at__isnull", True),
                                ("acknowledged_by__isnull", True),
                                ("comment", ""),
                            ),
                            models.Q(
                                ("acknowledged_at__isnull", False),
                                ("acknowledged_by__isnull", False),
                                models.Q(("comment", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="access_quorumreview_whole",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("acknowledged_by__isnull", True),
                            models.Q(("acknowledged_by", models.F("person")), _negated=True),
                            _connector="OR",
                        ),
                        name="access_quorumreview_by_another",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
        migrations.RunSQL(TRIGGERS, UNDO),
        migrations.RunPython(carry_matrix, migrations.RunPython.noop),
    ]
