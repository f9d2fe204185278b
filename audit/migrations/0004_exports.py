"""Cursors of the log on its way out: how far each place outside has it. Worker and command move them forward alone."""

from django.db import migrations, models

GUARDS = """
-- A cursor moves forward, one revision at a time, and never leaves the place that it belongs to.
CREATE FUNCTION public.audit_export_cursor_advances() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.number < OLD.number OR NEW.revision NOT IN (OLD.revision, OLD.revision + 1)
       OR (NEW.number, NEW.digest, NEW.length) IS DISTINCT FROM (OLD.number, OLD.digest, OLD.length)
          AND NEW.revision = OLD.revision THEN
        RAISE EXCEPTION 'export cursor % would go back, or move without a new revision', OLD.name;
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION public.audit_export_cursor_advances() FROM PUBLIC;
CREATE TRIGGER audit_export_cursor_advances BEFORE UPDATE ON public.audit_export_cursor
    FOR EACH ROW EXECUTE FUNCTION public.audit_export_cursor_advances();
ALTER TABLE public.audit_export_cursor ADD CONSTRAINT audit_exportcursor_digest CHECK (length(digest) = 32);

GRANT SELECT ON public.audit_export_cursor TO keyvault_app;
GRANT INSERT, UPDATE (number, digest, length, revision, moved_at, failing_since, error, retired_at)
    ON public.audit_export_cursor TO keyvault_worker, keyvault_command;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_reseal")]

    operations = [
        migrations.CreateModel(
            name="ExportCursor",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("kind", models.TextField()),
                ("number", models.BigIntegerField(default=0)),
                ("digest", models.BinaryField()),
                ("length", models.BigIntegerField(default=0)),
                ("revision", models.IntegerField(default=0)),
                ("begun_at", models.DateTimeField()),
                ("moved_at", models.DateTimeField(null=True)),
                ("failing_since", models.DateTimeField(null=True)),
                ("error", models.TextField(blank=True)),
                ("retired_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "export cursor",
                "db_table": "audit_export_cursor",
                "ordering": ["name"],
                "default_permissions": ("view",),
                "permissions": [("export_log", "Can export the audit log")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(number__gte=0, length__gte=0, revision__gte=0),
                        name="audit_exportcursor_counts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(failing_since__isnull=True, error="")
                        | (models.Q(failing_since__isnull=False) & ~models.Q(error="")),
                        name="audit_exportcursor_failing_says_why",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
    ]
