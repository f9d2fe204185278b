"""Orders to key stores, re-wrap jobs, and sources of DEKs elsewhere."""

import django.db.models.deletion
from django.db import migrations, models

# What needs votes is ordered while its request is carried out, and about the key that the request names.
GUARDS = r"""
CREATE FUNCTION public.rotation_order_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'waiting' THEN
            RAISE EXCEPTION 'an order begins as one that waits' USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.act = 'dek.create' AND (NEW.request_id, NEW.key_id, NEW.kek_version_id) IS DISTINCT FROM (NULL, NULL, NULL)
            OR NEW.kek_version_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM public.inventory_kekversion v
                 WHERE v.version_id = NEW.kek_version_id AND v.kek_id = NEW.key_id)
        THEN
            RAISE EXCEPTION 'an order is about one key, and a version of it' USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.act <> 'dek.create' AND NOT EXISTS (
            SELECT FROM public.rotation_request r
             WHERE r.id = NEW.request_id AND r.state = 'executing' AND r.operation = NEW.act
               AND session_user = 'keyvault_worker'
               AND (NEW.key_id IS NULL AND NEW.act = 'kek.create' OR EXISTS (
                    SELECT FROM jsonb_array_elements(convert_from(r.payload, 'UTF8')::jsonb -> 'targets') t
                     WHERE t ->> 'ref' = 'key:' || NEW.key_id)))
        THEN
            RAISE EXCEPTION 'this is ordered by a request that is being carried out' USING ERRCODE = 'insufficient_privilege';
        END IF;
    ELSE
        IF (NEW.act, NEW.request_id, NEW.parameters, NEW.kek_version_id, NEW.asked_by_ref, NEW.created_at)
            IS DISTINCT FROM
            (OLD.act, OLD.request_id, OLD.parameters, OLD.kek_version_id, OLD.asked_by_ref, OLD.created_at)
            OR OLD.key_id IS DISTINCT FROM NEW.key_id AND OLD.key_id IS NOT NULL
        THEN
            RAISE EXCEPTION 'what is ordered never changes' USING ERRCODE = 'check_violation';
        END IF;
        IF OLD.state IN ('done', 'cancelled') AND NEW.state <> OLD.state THEN
            RAISE EXCEPTION 'an order ends once' USING ERRCODE = 'check_violation';
        END IF;
        IF session_user IN ('keyvault_web', 'keyvault_command') AND (OLD.state, NEW.state) NOT IN
            (('failed', 'waiting'), ('failed', 'cancelled'), ('waiting', 'cancelled')) THEN
            RAISE EXCEPTION 'the worker does what is ordered' USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;
    IF NEW.act IN ('kek.disable', 'kek.schedule', 'kek.purge') AND NEW.state IN ('waiting', 'doing') AND NOT EXISTS (
        SELECT FROM public.inventory_kekversion v WHERE v.version_id = NEW.kek_version_id AND v.closed_at IS NOT NULL)
    THEN
        RAISE EXCEPTION 'a version that is not closed to wraps is neither disabled nor destroyed'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_order_guard BEFORE INSERT OR UPDATE ON public.rotation_order
    FOR EACH ROW EXECUTE FUNCTION public.rotation_order_guard();

-- People open, steer and end a job; what it did, and that it is done, is for the worker to say.
CREATE FUNCTION public.rotation_rewrapjob_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user NOT IN ('keyvault_web', 'keyvault_command') THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'running' OR NEW.certificate_id IS NOT NULL OR NEW.is_server_side OR NEW.pass_number <> 1
            OR NEW.rewrapped + NEW.verified + NEW.bound > 0
            OR NEW.digest_before IS NOT NULL OR NEW.digest_after IS NOT NULL
            OR NOT EXISTS (SELECT FROM public.inventory_kek k
                            WHERE k.key_id = NEW.kek_id AND k.primary_id = NEW.target_id)
            OR NEW.source_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM public.rotation_rewrapsource s WHERE s.id = NEW.source_id AND s.kek_id = NEW.kek_id)
        THEN
            RAISE EXCEPTION 'a job begins with nothing done, to the version that takes the new wraps'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    ELSIF (OLD.state, NEW.state) NOT IN (
            ('running', 'running'), ('paused', 'paused'), ('running', 'paused'), ('paused', 'running'),
            ('running', 'stopped'), ('paused', 'stopped'), ('running', 'superseded'), ('paused', 'superseded')) THEN
        RAISE EXCEPTION 'the worker finishes a job, and what is over stays so' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_rewrapjob_guard BEFORE INSERT OR UPDATE ON public.rotation_rewrapjob
    FOR EACH ROW EXECUTE FUNCTION public.rotation_rewrapjob_guard();

-- What is in quarantine leaves it once; people let it out of a job that still tries.
CREATE FUNCTION public.rotation_quarantined_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.resolved_at IS NOT NULL OR session_user IN ('keyvault_web', 'keyvault_command') AND NOT EXISTS (
        SELECT FROM public.rotation_rewrapjob j WHERE j.id = OLD.job_id AND j.state IN ('running', 'paused'))
    THEN
        RAISE EXCEPTION 'it is in quarantine for good, or not any more' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_quarantined_guard BEFORE UPDATE ON public.rotation_quarantined
    FOR EACH ROW EXECUTE FUNCTION public.rotation_quarantined_guard();

CREATE FUNCTION public.rotation_source_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NOT (session_user = 'keyvault_worker' AND EXISTS (
            SELECT FROM public.rotation_request r WHERE r.state = 'executing' AND r.operation = 'source.register'
               AND convert_from(r.payload, 'UTF8')::jsonb -> 'parameters' ->> 'name' = NEW.name))
        OR TG_OP = 'UPDATE' AND NEW.retired_at IS DISTINCT FROM OLD.retired_at AND NOT (
            session_user = 'keyvault_worker' AND EXISTS (
            SELECT FROM public.rotation_request r
             CROSS JOIN LATERAL jsonb_array_elements(convert_from(r.payload, 'UTF8')::jsonb -> 'targets') t
             WHERE r.state = 'executing' AND r.operation = 'source.retire' AND t ->> 'ref' = 'source:' || NEW.id))
    THEN
        RAISE EXCEPTION 'a source is registered and retired by a request' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_source_guard BEFORE INSERT OR UPDATE ON public.rotation_rewrapsource
    FOR EACH ROW EXECUTE FUNCTION public.rotation_source_guard();

-- As in 0005; a KEK is rotated by a broken glass too.
CREATE OR REPLACE FUNCTION public.rotation_request_is_new() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb := convert_from(NEW.payload, 'UTF8')::jsonb;
BEGIN
    IF NEW.state <> 'open' OR said ->> 'operation' IS DISTINCT FROM NEW.operation
        OR said ->> 'requested_by' IS DISTINCT FROM NEW.requested_by_ref
        OR said -> 'targets' -> 0 ->> 'ref' IS DISTINCT FROM NEW.subject_ref
        OR (said ->> 'expires_at')::timestamptz IS DISTINCT FROM NEW.expires_at
        OR (said ->> 'is_break_glass')::boolean IS DISTINCT FROM NEW.is_break_glass
        OR 'user:' || NEW.requested_by_id IS DISTINCT FROM
           (CASE WHEN NEW.requested_by_ref LIKE 'user:%' THEN NEW.requested_by_ref END)
    THEN
        RAISE EXCEPTION 'the request says something else than its payload' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.is_break_glass AND (
            jsonb_array_length(said -> 'steps') > 0 OR NEW.requested_by_id IS NULL
            OR NEW.operation NOT IN ('key.revoke', 'key.rotation', 'kek.rotate'))
        OR NOT NEW.is_break_glass AND coalesce(jsonb_array_length(said -> 'steps'), 0) = 0
    THEN
        RAISE EXCEPTION 'the request needs votes' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

-- Besides the requests in execution (0005): an order of an executed request, being done, about this key alone.
CREATE OR REPLACE FUNCTION public.inventory_permit(event jsonb) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT session_user = 'keyvault_worker' AND (EXISTS (
        SELECT FROM public.rotation_request r
         WHERE r.id = substring(event -> 'facts' ->> 'request' FROM '^request:([0-9]{1,18})$')::bigint
           AND r.state = 'executing'
           AND (r.operation, event ->> 'action') IN (
                ('key.revoke', 'key.compromised'), ('key.revoke', 'key.deactivated'),
                ('key.destroy', 'key.destroyed'), ('key.reactivate', 'key.reactivated'), ('key.rotation', 'key.rotated'),
                ('key.dates', 'key.dates_changed'), ('dek.clear', 'key.destroyed'))
           AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(event -> 'subjects') s
                 WHERE NOT EXISTS (
                    SELECT FROM jsonb_array_elements(convert_from(r.payload, 'UTF8')::jsonb -> 'targets') t
                     WHERE t ->> 'ref' = s ->> 'ref')))
        OR EXISTS (
        SELECT FROM public.rotation_order o JOIN public.rotation_request r ON r.id = o.request_id
         WHERE 'request:' || r.id = event -> 'facts' ->> 'request'
           AND r.state = 'executed' AND o.state IN ('doing', 'watching')
           AND (o.act, event ->> 'action') IN (
                ('kek.rotate', 'key.rotated'), ('dek.rotate', 'key.rotated'),
                ('kek.schedule', 'key.destroyed'), ('kek.purge', 'key.destroyed'))
           AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(event -> 'subjects') s WHERE s ->> 'ref' <> 'key:' || o.key_id)))
$$;

CREATE OR REPLACE FUNCTION public.inventory_may_clear(dek_versions bigint[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT session_user = 'keyvault_worker' AND NOT EXISTS (
        SELECT FROM unnest(dek_versions) cleared (id)
          LEFT JOIN public.inventory_dekversion d ON d.version_id = cleared.id
         WHERE NOT EXISTS (
            SELECT FROM public.rotation_request r
             CROSS JOIN LATERAL jsonb_array_elements(convert_from(r.payload, 'UTF8')::jsonb -> 'targets') t
             WHERE r.state = 'executing' AND r.operation IN ('dek.clear', 'key.destroy')
               AND t ->> 'ref' = 'key:' || d.key_id
               AND (r.operation = 'key.destroy'
                    OR (convert_from(r.payload, 'UTF8')::jsonb -> 'parameters' ->> 'number')::int = d.number)))
$$;

REVOKE ALL ON FUNCTION public.rotation_order_guard(), public.rotation_source_guard(),
    public.rotation_rewrapjob_guard(), public.rotation_quarantined_guard() FROM PUBLIC;

GRANT SELECT ON public.rotation_order, public.rotation_rewrapjob, public.rotation_rewrapbatch,
    public.rotation_quarantined, public.rotation_rewrapsource TO keyvault_app;
GRANT INSERT ON public.rotation_order TO keyvault_web, keyvault_worker, keyvault_command;
GRANT UPDATE ON public.rotation_order TO keyvault_worker;
GRANT UPDATE (state, next_at, attempts, closed_at, closed_because, leased_until) ON public.rotation_order
    TO keyvault_web, keyvault_command;
GRANT INSERT ON public.rotation_rewrapjob TO keyvault_web, keyvault_worker, keyvault_command;
GRANT UPDATE ON public.rotation_rewrapjob TO keyvault_worker;
GRANT UPDATE (state, changed_at, paused_because, next_at, closed_at, closed_because, batch_size, per_second)
    ON public.rotation_rewrapjob TO keyvault_web, keyvault_command;
GRANT INSERT, UPDATE ON public.rotation_rewrapbatch TO keyvault_worker;
GRANT INSERT ON public.rotation_quarantined TO keyvault_worker;
GRANT UPDATE (resolved_at, resolved_because) ON public.rotation_quarantined
    TO keyvault_web, keyvault_worker, keyvault_command;
GRANT INSERT ON public.rotation_rewrapsource TO keyvault_worker;
GRANT UPDATE (retired_at, counts, counted_at, trouble, revision) ON public.rotation_rewrapsource TO keyvault_worker;
GRANT USAGE ON SEQUENCE public.rotation_order_id_seq, public.rotation_rewrapjob_id_seq TO keyvault_web, keyvault_worker,
    keyvault_command;
GRANT USAGE ON SEQUENCE public.rotation_rewrapbatch_id_seq, public.rotation_quarantined_id_seq,
    public.rotation_rewrapsource_id_seq TO keyvault_worker;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0008_certificates"),
        ("inventory", "0020_custody"),
        ("rotation", "0010_notice_key"),
    ]

    operations = [
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "act",
                    models.CharField(
                        choices=[
                            ("kek.create", "make a KEK, or take over one that is there"),
                            ("kek.rotate", "rotate a KEK"),
                            ("kek.disable", "disable a KEK version"),
                            ("kek.schedule", "schedule a KEK version for destruction"),
                            ("kek.purge", "destroy a KEK version at once"),
                            ("kek.recover", "recover or enable a KEK version"),
                            ("dek.create", "make a DEK"),
                            ("dek.rotate", "rotate a DEK"),
                        ],
                        max_length=20,
                    ),
                ),
                ("parameters", models.JSONField(default=dict)),
                ("reason", models.CharField(blank=True, max_length=2000)),
                ("asked_by_ref", models.CharField(max_length=100)),
                ("created_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "waiting"),
                            ("doing", "being done"),
                            ("watching", "done there, watched until it is over"),
                            ("done", "done"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("seen", models.JSONField(default=dict)),
                ("looks", models.PositiveSmallIntegerField(default=0)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_at", models.DateTimeField()),
                ("leased_until", models.DateTimeField(null=True)),
                ("closed_at", models.DateTimeField(null=True)),
                ("closed_because", models.CharField(blank=True, max_length=500)),
                (
                    "kek_version",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="orders",
                        to="inventory.kekversion",
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="orders",
                        to="inventory.key",
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="orders",
                        to="rotation.request",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at", "-pk"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="RewrapJob",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reason", models.CharField(max_length=2000)),
                ("opened_by_ref", models.CharField(max_length=100)),
                ("opened_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "running"),
                            ("paused", "paused"),
                            ("done", "done"),
                            ("superseded", "superseded"),
                            ("stopped", "stopped"),
                        ],
                        default="running",
                        max_length=10,
                    ),
                ),
                ("pass_number", models.PositiveSmallIntegerField(default=1)),
                ("batch_size", models.PositiveIntegerField(default=2000)),
                ("per_second", models.PositiveIntegerField(null=True)),
                ("verify_percent", models.PositiveSmallIntegerField(default=100)),
                ("is_server_side", models.BooleanField(default=False)),
                ("total", models.PositiveBigIntegerField(default=0)),
                ("rewrapped", models.PositiveBigIntegerField(default=0)),
                ("verified", models.PositiveBigIntegerField(default=0)),
                ("bound", models.PositiveBigIntegerField(default=0)),
                ("digest_before", models.BinaryField(null=True)),
                ("digest_after", models.BinaryField(null=True)),
                ("changed_at", models.DateTimeField()),
                ("paused_because", models.CharField(blank=True, max_length=300)),
                ("next_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                ("closed_because", models.CharField(blank=True, max_length=300)),
                (
                    "certificate",
                    models.OneToOneField(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="audit.certificate"
                    ),
                ),
                (
                    "kek",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="jobs", to="inventory.kek"
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="jobs", to="rotation.order"
                    ),
                ),
                (
                    "target",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="inventory.kekversion"
                    ),
                ),
            ],
            options={
                "ordering": ["-opened_at", "-pk"],
                "permissions": [("run_rewrapjob", "Can open, pause, resume and stop re-wrap jobs")],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="RewrapBatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("pass_number", models.PositiveSmallIntegerField()),
                ("first", models.CharField(max_length=100)),
                ("last", models.CharField(max_length=100)),
                (
                    "state",
                    models.CharField(choices=[("leased", "leased"), ("done", "done")], default="leased", max_length=10),
                ),
                ("leased_until", models.DateTimeField(null=True)),
                ("attempts", models.PositiveSmallIntegerField(default=1)),
                ("rewrapped", models.PositiveIntegerField(default=0)),
                ("quarantined", models.PositiveIntegerField(default=0)),
                ("digest", models.BinaryField(null=True)),
                ("begun_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(null=True)),
                (
                    "kek_version",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="inventory.kekversion",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="batches", to="rotation.rewrapjob"
                    ),
                ),
            ],
            options={
                "ordering": ["job", "number"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Quarantined",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("row", models.CharField(blank=True, max_length=100)),
                ("reason", models.CharField(max_length=30)),
                ("at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(null=True)),
                ("resolved_because", models.CharField(blank=True, max_length=300)),
                (
                    "dek_version",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="quarantined",
                        to="inventory.dekversion",
                    ),
                ),
                (
                    "kek_version",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="inventory.kekversion",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="quarantined", to="rotation.rewrapjob"
                    ),
                ),
            ],
            options={
                "ordering": ["job", "pk"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="RewrapSource",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("host", models.CharField(max_length=255)),
                ("port", models.PositiveIntegerField(default=5432)),
                ("database", models.CharField(max_length=63)),
                ("login", models.CharField(max_length=63)),
                ("password_file", models.CharField(max_length=300)),
                ("ca_file", models.CharField(max_length=300)),
                ("table", models.CharField(max_length=127)),
                ("id_column", models.CharField(max_length=63)),
                ("wrapped_column", models.CharField(max_length=63)),
                ("version_column", models.CharField(max_length=63)),
                ("context_column", models.CharField(blank=True, max_length=63)),
                ("binding_column", models.CharField(blank=True, max_length=63)),
                (
                    "form",
                    models.CharField(
                        choices=[
                            ("bytes", "the store's ciphertext as bytes"),
                            ("base64", "the store's ciphertext as base64 text"),
                            ("text", "as the store writes it (vault:v3:…)"),
                            ("envelope", "the wrapped form of this application as bytes"),
                        ],
                        max_length=10,
                    ),
                ),
                ("registered_at", models.DateTimeField()),
                ("retired_at", models.DateTimeField(null=True)),
                ("counts", models.JSONField(default=dict)),
                ("counted_at", models.DateTimeField(null=True)),
                ("trouble", models.CharField(blank=True, max_length=300)),
                ("revision", models.PositiveIntegerField(default=1)),
                (
                    "kek",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="sources", to="inventory.kek"
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
                "default_permissions": ("view",),
            },
        ),
        migrations.AddField(
            model_name="rewrapjob",
            name="source",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="jobs", to="rotation.rewrapsource"
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(
                condition=models.Q(("state__in", ["waiting", "doing", "watching"])),
                fields=["next_at"],
                name="order_due",
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["-created_at", "-id"], name="order_newest"),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("waiting", "doing", "failed"))),
                fields=("key",),
                name="order_one_busy_for_a_key",
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "watching")),
                fields=("kek_version",),
                name="order_one_watched_for_a_version",
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.UniqueConstraint(fields=("request", "key"), name="order_once_for_a_request"),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "doing"), _negated=True), ("leased_until__isnull", False), _connector="OR"
                ),
                name="order_doing_has_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["done", "cancelled"]), ("closed_at__isnull", False)),
                    models.Q(
                        models.Q(("state__in", ["done", "cancelled"]), _negated=True), ("closed_at__isnull", True)
                    ),
                    _connector="OR",
                ),
                name="order_closed_has_time",
            ),
        ),
        migrations.AddIndex(
            model_name="rewrapbatch",
            index=models.Index(
                condition=models.Q(("state", "leased")), fields=["job", "leased_until"], name="rewrapbatch_leased"
            ),
        ),
        migrations.AddConstraint(
            model_name="rewrapbatch",
            constraint=models.UniqueConstraint(fields=("job", "number"), name="rewrapbatch_number"),
        ),
        migrations.AddConstraint(
            model_name="rewrapbatch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "leased"), _negated=True), ("leased_until__isnull", False), _connector="OR"
                ),
                name="rewrapbatch_has_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="rewrapbatch",
            constraint=models.CheckConstraint(
                condition=models.Q(("done_at__isnull", True), ("done_at__gte", models.F("begun_at")), _connector="OR"),
                name="rewrapbatch_ends_later",
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantined",
            constraint=models.UniqueConstraint(
                condition=models.Q(("dek_version__isnull", False), ("resolved_at__isnull", True)),
                fields=("job", "dek_version"),
                name="quarantined_dek_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="quarantined",
            constraint=models.UniqueConstraint(
                condition=models.Q(("resolved_at__isnull", True), models.Q(("row", ""), _negated=True)),
                fields=("job", "row"),
                name="quarantined_row_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="rewrapsource",
            constraint=models.UniqueConstraint(
                condition=models.Q(("retired_at__isnull", True)),
                fields=("host", "port", "database", "table", "wrapped_column"),
                name="source_table_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="rewrapsource",
            constraint=models.CheckConstraint(
                condition=models.Q(("port__gte", 1), ("port__lte", 65535)), name="source_port"
            ),
        ),
        migrations.AddIndex(
            model_name="rewrapjob",
            index=models.Index(condition=models.Q(("state", "running")), fields=["next_at"], name="rewrapjob_due"),
        ),
        migrations.AddIndex(
            model_name="rewrapjob",
            index=models.Index(fields=["-opened_at", "-id"], name="rewrapjob_newest"),
        ),
        migrations.AddConstraint(
            model_name="rewrapjob",
            constraint=models.UniqueConstraint(
                condition=models.Q(("source__isnull", True), ("state__in", ("running", "paused"))),
                fields=("kek",),
                name="rewrapjob_one_live_for_a_kek",
            ),
        ),
        migrations.AddConstraint(
            model_name="rewrapjob",
            constraint=models.UniqueConstraint(
                condition=models.Q(("source__isnull", False), ("state__in", ("running", "paused"))),
                fields=("source",),
                name="rewrapjob_one_live_for_a_source",
            ),
        ),
        migrations.AddConstraint(
            model_name="rewrapjob",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at__isnull", True), ("state__in", ("running", "paused"))),
                    models.Q(
                        models.Q(("state__in", ("running", "paused")), _negated=True), ("closed_at__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="rewrapjob_closed_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="rewrapjob",
            constraint=models.CheckConstraint(
                condition=models.Q(("verify_percent__gte", 1), ("verify_percent__lte", 100)), name="rewrapjob_share"
            ),
        ),
        migrations.AddConstraint(
            model_name="rewrapjob",
            constraint=models.CheckConstraint(
                condition=models.Q(("batch_size__gte", 1), ("batch_size__lte", 50000)), name="rewrapjob_batch"
            ),
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
    ]
