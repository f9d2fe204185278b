"""Certificates, which the signer signs."""

from django.db import migrations, models

# Who did it writes what it says; the signer signs it, once. Nobody changes or deletes one.
GUARDS = r"""
CREATE FUNCTION public.audit_certificate_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.note <> '' OR TG_OP = 'UPDATE' AND OLD.note <> '' THEN
        RAISE EXCEPTION 'a certificate is signed once, by the signer' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_certificate_guard BEFORE INSERT OR UPDATE ON public.audit_certificate
    FOR EACH ROW EXECUTE FUNCTION public.audit_certificate_guard();
REVOKE ALL ON FUNCTION public.audit_certificate_guard() FROM PUBLIC;

GRANT SELECT ON public.audit_certificate TO keyvault_app;
GRANT INSERT ON public.audit_certificate TO keyvault_worker;
GRANT USAGE ON SEQUENCE public.audit_certificate_id_seq TO keyvault_worker;
GRANT UPDATE (note, signed_at) ON public.audit_certificate TO keyvault_signer;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0007_retention"),
    ]

    operations = [
        migrations.CreateModel(
            name="Certificate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(choices=[("rewrap", "re-wrap"), ("destruction", "destruction")], max_length=20),
                ),
                ("subject", models.CharField(max_length=100)),
                ("title", models.CharField(max_length=300)),
                ("body", models.BinaryField()),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("made_at", models.DateTimeField()),
                ("note", models.TextField(blank=True)),
                ("signed_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "audit_certificate",
                "ordering": ["-made_at", "-pk"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(condition=models.Q(("note", "")), fields=["made_at"], name="certificate_to_sign"),
                    models.Index(fields=["subject"], name="certificate_subject"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "digest",
                                models.Func(models.F("body"), function="sha256", output_field=models.BinaryField()),
                            )
                        ),
                        name="certificate_digest_is_the_bodys",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("note", ""), ("signed_at__isnull", True)),
                            models.Q(models.Q(("note", ""), _negated=True), ("signed_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="certificate_signed_has_time",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
    ]
