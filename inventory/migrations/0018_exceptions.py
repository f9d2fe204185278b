"""Exceptions to clauses; clauses, and a lower threat level, come about by requests alone."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.apps.registry import Apps
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# No policy says how long an exception may last. The shorter length follows the ages of R79 and R210: what may be used
# for 90 days is not excepted for longer than that.
LIMITS = [
    {"label": "any key", "longest_days": 180},
    {
        "label": "a key that opens production or customer-confidential data", "longest_days": 90,
        "access": ["production", "customer"],
    },
    {
        "label": "a key of confidential or restricted data", "longest_days": 90,
        "classifications": ["confidential", "restricted"],
    },
    {
        "label": "a key that other keys depend on", "longest_days": 90,
        "kinds": ["backup_key", "ca_certificate", "kek", "master_key"],
    },
]  # fmt: skip

# The requests are rows of rotation, which comes after: these functions look them up when they run.
CARRIED_OUT = r"""
CREATE FUNCTION public.inventory_is_carried_out(wanted text[], about text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN session_user = 'keyvault_worker' AND EXISTS (
        SELECT FROM public.rotation_request r
         CROSS JOIN LATERAL jsonb_array_elements(convert_from(r.payload, 'UTF8')::jsonb -> 'targets') t
         WHERE r.state = 'executing' AND r.operation = ANY (wanted) AND t ->> 'ref' = about);
END
$$;

CREATE FUNCTION public.inventory_longest_exception(wanted bigint) RETURNS int
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT min(l.longest_days)
      FROM public.inventory_key k
     CROSS JOIN LATERAL (
            SELECT CASE k.access WHEN 'production' THEN '{production}'::text[] WHEN 'customer' THEN '{customer}'
                                 WHEN 'both' THEN '{production,customer}' WHEN 'either' THEN '{production,customer}'
                                 ELSE '{}' END
                || CASE k.environment WHEN 'production' THEN '{production}'::text[] ELSE '{}' END AS opened) o
      JOIN public.inventory_exceptionlimit l
        ON (l.kinds = '{}' OR k.kind = ANY (l.kinds))
       AND (l.environments = '{}' OR k.environment = ANY (l.environments))
       AND (l.classifications = '{}' OR k.classification = ANY (l.classifications))
       AND (l.access = '{}' OR l.access::text[] && o.opened)
     WHERE k.id = wanted
$$;
"""

# Who owns the database ships clauses by migrations; the login roles change them only while a request is carried out.
GUARDS = r"""
CREATE FUNCTION public.inventory_exception_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state <> 'standing' OR NEW.state = 'expired' AND NEW.closed_at < OLD.until THEN
            RAISE EXCEPTION 'an exception ends once, and expires at its day' USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.state <> 'ended' AND session_user = 'keyvault_web' THEN
            RAISE EXCEPTION 'the worker lets exceptions expire' USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT public.inventory_is_carried_out(ARRAY['exception.grant'], 'key:' || NEW.key_id) OR NOT EXISTS (
        SELECT FROM public.rotation_request r
         WHERE 'request:' || r.id = NEW.request AND r.state = 'executing' AND r.operation = 'exception.grant') THEN
        RAISE EXCEPTION 'an exception is granted by a request' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.state <> 'standing'
        OR NEW.longest_days IS DISTINCT FROM public.inventory_longest_exception(NEW.key_id)
        OR NEW.until > NEW.granted_at + make_interval(days => NEW.longest_days) THEN
        RAISE EXCEPTION 'an exception keeps to its longest length' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inventory_exception_guard BEFORE INSERT OR UPDATE ON public.inventory_policyexception
    FOR EACH ROW EXECUTE FUNCTION public.inventory_exception_guard();

CREATE FUNCTION public.inventory_clause_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user IN ('keyvault_web', 'keyvault_worker', 'keyvault_beat', 'keyvault_signer', 'keyvault_command')
        AND NOT (CASE TG_OP
            WHEN 'INSERT' THEN public.inventory_is_carried_out(ARRAY['clause.register'], 'new_clause:' || NEW.code)
            ELSE public.inventory_is_carried_out(ARRAY['clause.edit', 'clause.retire'], 'clause:' || NEW.id) END)
    THEN
        RAISE EXCEPTION 'a clause changes by a request' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inventory_clause_guard BEFORE INSERT OR UPDATE ON public.inventory_policyclause
    FOR EACH ROW EXECUTE FUNCTION public.inventory_clause_guard();

CREATE FUNCTION public.inventory_threat_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user IN ('keyvault_web', 'keyvault_worker', 'keyvault_beat', 'keyvault_signer', 'keyvault_command')
        AND (array_position(ARRAY['normal', 'elevated', 'high'], NEW.level::text)
                < array_position(ARRAY['normal', 'elevated', 'high'], OLD.level::text)
             OR NEW.elevated_percent > OLD.elevated_percent OR NEW.high_percent > OLD.high_percent)
        AND NOT public.inventory_is_carried_out(ARRAY['threat_level.lower'], 'threat_level:1')
    THEN
        RAISE EXCEPTION 'the threat level is lowered by a request' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inventory_threat_guard BEFORE UPDATE ON public.inventory_threatlevel
    FOR EACH ROW EXECUTE FUNCTION public.inventory_threat_guard();

REVOKE ALL ON FUNCTION public.inventory_is_carried_out(text[], text), public.inventory_longest_exception(bigint),
    public.inventory_exception_guard(), public.inventory_clause_guard(), public.inventory_threat_guard() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.inventory_is_carried_out(text[], text), public.inventory_longest_exception(bigint)
    TO keyvault_app;

GRANT SELECT ON public.inventory_exceptionlimit, public.inventory_policyexception TO keyvault_app;
GRANT INSERT ON public.inventory_policyexception TO keyvault_worker;
GRANT UPDATE (state, closed_at, closed_by_id, closed_because) ON public.inventory_policyexception
    TO keyvault_web, keyvault_worker;
GRANT INSERT (accepted_until), UPDATE (accepted_until) ON public.inventory_key, public.inventory_finding TO keyvault_app;
REVOKE INSERT, UPDATE ON public.inventory_policyclause FROM keyvault_web;
GRANT UPDATE (level, elevated_percent, high_percent, changed_at, revision) ON public.inventory_threatlevel
    TO keyvault_worker;
DO $$
DECLARE
    once text;
    always text;
BEGIN
    SELECT string_agg(quote_ident(column_name), ', '),
           string_agg(quote_ident(column_name), ', ') FILTER (WHERE column_name <> 'code')
      INTO once, always
      FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name = 'inventory_policyclause' AND column_name <> 'id';
    EXECUTE format('GRANT INSERT (%s), UPDATE (%s) ON public.inventory_policyclause TO keyvault_worker', once, always);
END
$$;
"""
UNDO = """
DROP FUNCTION public.inventory_exception_guard() CASCADE;
DROP FUNCTION public.inventory_clause_guard() CASCADE;
DROP FUNCTION public.inventory_threat_guard() CASCADE;
DROP FUNCTION public.inventory_longest_exception(bigint);
DROP FUNCTION public.inventory_is_carried_out(text[], text);
"""


def ship(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    limits = apps.get_model("inventory", "ExceptionLimit").objects
    for limit in LIMITS:
        limits.create(**limit)


class Migration(migrations.Migration):
    dependencies = [("inventory", "0017_permits"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="ExceptionLimit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("label", models.CharField(max_length=120, unique=True)),
                ("longest_days", models.PositiveSmallIntegerField()),
                (
                    "kinds",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("kek", "Key-encrypting key"),
                                ("dek", "Data-encrypting key"),
                                ("api_token", "API token"),
                                ("personal_token", "Personal access key"),
                                ("tls_certificate", "TLS certificate"),
                                ("ca_certificate", "CA certificate"),
                                ("ssh_key", "SSH key"),
                                ("signing_key", "Signing key"),
                                ("hmac_key", "HMAC key"),
                                ("database_credential", "Database credential"),
                                ("webhook_secret", "Webhook secret"),
                                ("bootstrap_secret", "Bootstrap secret"),
                                ("backup_key", "Backup key"),
                                ("master_key", "Master key"),
                                ("provider_managed", "Provider-managed key"),
                            ],
                            max_length=30,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "environments",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("production", "production"),
                                ("staging", "staging"),
                                ("test", "test"),
                                ("development", "development"),
                            ],
                            max_length=20,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "classifications",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("public", "public"),
                                ("internal", "internal"),
                                ("confidential", "confidential"),
                                ("restricted", "restricted"),
                            ],
                            max_length=20,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "access",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[("production", "production data"), ("customer", "customer-confidential data")],
                            max_length=20,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
            ],
            options={
                "ordering": ["longest_days", "pk"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="PolicyException",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("compensating_control", models.TextField(max_length=2000)),
                ("residual_risk", models.TextField(max_length=2000)),
                ("reason", models.CharField(max_length=2000, verbose_name="why")),
                ("granted_at", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("longest_days", models.PositiveSmallIntegerField()),
                ("request", models.CharField(max_length=100, unique=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("standing", "standing"),
                            ("expired", "expired"),
                            ("ended", "ended early"),
                            ("superseded", "renewed"),
                        ],
                        default="standing",
                        max_length=10,
                    ),
                ),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("closed_because", models.CharField(blank=True, max_length=500)),
            ],
            options={
                "verbose_name": "exception",
                "ordering": ["-pk"],
                "permissions": [
                    ("ask_policyexception", "Can ask for an exception to a clause"),
                    ("end_policyexception", "Can end an exception early"),
                ],
                "default_permissions": ("view",),
            },
        ),
        migrations.RemoveIndex(
            model_name="finding",
            name="finding_open_worst",
        ),
        migrations.RemoveIndex(
            model_name="finding",
            name="finding_open_newest",
        ),
        migrations.RemoveIndex(
            model_name="key",
            name="key_restricted_can_be_overdue",
        ),
        migrations.RemoveIndex(
            model_name="key",
            name="key_can_be_overdue",
        ),
        migrations.AddField(
            model_name="finding",
            name="accepted_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="key",
            name="accepted_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="finding",
            index=models.Index(
                condition=models.Q(("closed_at__isnull", True)),
                fields=["severity", "id"],
                include=("accepted_until",),
                name="finding_open_worst",
            ),
        ),
        migrations.AddIndex(
            model_name="finding",
            index=models.Index(
                condition=models.Q(("closed_at__isnull", True)),
                fields=["id"],
                include=("accepted_until",),
                name="finding_open_newest",
            ),
        ),
        migrations.AddIndex(
            model_name="finding",
            index=models.Index(
                condition=models.Q(("accepted_until__isnull", False), ("closed_at__isnull", True)),
                fields=["severity", "id"],
                include=("accepted_until",),
                name="finding_accepted",
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(("state__in", ("active", "suspended", "compromised"))),
                fields=["rotate_by", "id"],
                include=("owner", "accepted_until"),
                name="key_can_be_overdue",
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(
                    ("accepted_until__isnull", False), ("state__in", ("active", "suspended", "compromised"))
                ),
                fields=["rotate_by", "id"],
                include=("accepted_until",),
                name="key_accepted",
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(
                    ("classification", "restricted"), ("state__in", ("active", "suspended", "compromised"))
                ),
                fields=["rotate_by"],
                include=("accepted_until",),
                name="key_restricted_can_be_overdue",
            ),
        ),
        migrations.AddConstraint(
            model_name="key",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("accepted_until__isnull", True), ("accepted_until__gt", models.F("rotate_by")), _connector="OR"
                ),
                name="key_accepted_beyond_its_date",
            ),
        ),
        migrations.AddConstraint(
            model_name="exceptionlimit",
            constraint=models.CheckConstraint(
                condition=models.Q(("longest_days__range", (1, 366))), name="exceptionlimit_in_range"
            ),
        ),
        migrations.AddField(
            model_name="policyexception",
            name="clause",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="exceptions", to="inventory.policyclause"
            ),
        ),
        migrations.AddField(
            model_name="policyexception",
            name="closed_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="policyexception",
            name="key",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="exceptions", to="inventory.key"
            ),
        ),
        migrations.AddIndex(
            model_name="policyexception",
            index=models.Index(
                condition=models.Q(("state", "standing")), fields=["until", "id"], name="exception_standing"
            ),
        ),
        migrations.AddIndex(
            model_name="policyexception",
            index=models.Index(fields=["until", "id"], name="exception_by_end"),
        ),
        migrations.AddConstraint(
            model_name="policyexception",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "standing")), fields=("key", "clause"), name="exception_one_standing"
            ),
        ),
        migrations.AddConstraint(
            model_name="policyexception",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("compensating_control", ""), _negated=True),
                    models.Q(("residual_risk", ""), _negated=True),
                    models.Q(("reason", ""), _negated=True),
                ),
                name="exception_says_all",
            ),
        ),
        migrations.AddConstraint(
            model_name="policyexception",
            constraint=models.CheckConstraint(
                condition=models.Q(("until__gt", models.F("granted_at"))), name="exception_ends_later"
            ),
        ),
        migrations.AddConstraint(
            model_name="policyexception",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at__isnull", True), ("closed_by__isnull", True), ("state", "standing")),
                    models.Q(models.Q(("state", "standing"), _negated=True), ("closed_at__isnull", False)),
                    _connector="OR",
                ),
                name="exception_closed_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="policyexception",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "ended"), _negated=True),
                    models.Q(("closed_because", ""), _negated=True),
                    _connector="OR",
                ),
                name="exception_ended_says_why",
            ),
        ),
        migrations.RunPython(ship, migrations.RunPython.noop),
        migrations.RunSQL([CARRIED_OUT, GUARDS], UNDO),
    ]
