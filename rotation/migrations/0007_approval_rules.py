"""Rules of the house that ask for more votes, who is told of what, and what a request permits while it is carried out."""

from django.db import migrations, models

# What a request says that is being carried out; NULL where there is none. Everything that votes guard asks this.
EXECUTING = r"""
CREATE FUNCTION public.rotation_executing(operation text, subject text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT convert_from(r.payload, 'UTF8')::jsonb -> 'parameters' FROM public.rotation_request r
     WHERE r.operation = rotation_executing.operation AND r.subject_ref = rotation_executing.subject
       AND r.state = 'executing' AND session_user IN ('keyvault_worker', 'keyvault_command', 'keyvault_migrator')
$$;

CREATE OR REPLACE FUNCTION public.audit_retention_permit(days integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((public.rotation_executing('retention.change', 'audit_retention') ->> 'days')::int
                    = audit_retention_permit.days, false)
$$;
CREATE OR REPLACE FUNCTION public.audit_drop_permit(number integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT public.rotation_executing('period.drop', 'audit_period:' || audit_drop_permit.number) IS NOT NULL
$$;
"""
UNDO = r"""
CREATE OR REPLACE FUNCTION public.audit_retention_permit(days integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;
CREATE OR REPLACE FUNCTION public.audit_drop_permit(number integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;
DROP FUNCTION public.rotation_rule_guard() CASCADE;
DROP FUNCTION public.rotation_route_guard() CASCADE;
DROP FUNCTION public.rotation_executing(text, text);
"""

GUARDS = r"""
CREATE FUNCTION public.rotation_rule_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb := public.rotation_executing('rule.change', 'approval_rule:' || NEW.operation);
BEGIN
    IF said IS NULL OR said -> 'votes' IS DISTINCT FROM NEW.votes
        OR (said ->> 'lifetime_hours')::int IS DISTINCT FROM NEW.lifetime_hours THEN
        RAISE EXCEPTION 'a rule of approval is changed by votes' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_rule_guard BEFORE INSERT OR UPDATE ON public.rotation_approvalrule
    FOR EACH ROW EXECUTE FUNCTION public.rotation_rule_guard();

CREATE FUNCTION public.rotation_route_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb := public.rotation_executing('alerts.change', 'alert_route:' || NEW.kind);
BEGIN
    IF said IS NULL OR said -> 'roles' IS DISTINCT FROM NEW.roles
        OR said -> 'addresses' IS DISTINCT FROM NEW.addresses THEN
        RAISE EXCEPTION 'who is told of an alert is changed by votes' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_route_guard BEFORE INSERT OR UPDATE ON public.rotation_alertroute
    FOR EACH ROW EXECUTE FUNCTION public.rotation_route_guard();

REVOKE ALL ON FUNCTION public.rotation_executing(text, text), public.rotation_rule_guard(),
    public.rotation_route_guard() FROM PUBLIC;

GRANT SELECT ON public.rotation_approvalrule, public.rotation_alertroute TO keyvault_app;
GRANT INSERT (operation, votes, lifetime_hours, revision, set_at, set_by),
    UPDATE (votes, lifetime_hours, revision, set_at, set_by) ON public.rotation_approvalrule TO keyvault_worker;
GRANT INSERT (kind, roles, addresses, revision, set_at, set_by),
    UPDATE (roles, addresses, revision, set_at, set_by) ON public.rotation_alertroute TO keyvault_worker;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0007_retention"),
        ("rotation", "0006_duties"),
    ]

    operations = [
        migrations.CreateModel(
            name="AlertRoute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=40, unique=True)),
                ("roles", models.JSONField(default=list)),
                ("addresses", models.JSONField(default=list)),
                ("revision", models.PositiveIntegerField()),
                ("set_at", models.DateTimeField()),
                ("set_by", models.CharField(max_length=100)),
            ],
            options={"ordering": ["kind"], "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="ApprovalRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("operation", models.CharField(max_length=50, unique=True)),
                ("votes", models.JSONField(default=dict)),
                ("lifetime_hours", models.PositiveSmallIntegerField(null=True)),
                ("revision", models.PositiveIntegerField()),
                ("set_at", models.DateTimeField()),
                ("set_by", models.CharField(max_length=100)),
            ],
            options={"ordering": ["operation"], "default_permissions": ()},
        ),
        migrations.AddConstraint(
            model_name="alertroute",
            constraint=models.CheckConstraint(
                condition=models.Q(("addresses", []), ("roles", []), _negated=True), name="alertroute_tells_somebody"
            ),
        ),
        migrations.AddConstraint(
            model_name="approvalrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("lifetime_hours__isnull", True), ("lifetime_hours__gte", 1), _connector="OR"),
                name="approvalrule_an_hour_or_more",
            ),
        ),
        migrations.RunSQL([EXECUTING, GUARDS], UNDO),
    ]
