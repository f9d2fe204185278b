"""KEKs in their stores, DEKs, and which wraps which; the interlock between them."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models

GUARDS = r"""
-- Every row of a statement at once: the version is locked against closing, is open, and both sides are there.
CREATE FUNCTION public.inventory_wrapping_added() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shut bigint;
BEGIN
    PERFORM 1 FROM public.inventory_kekversion v
      WHERE v.version_id IN (SELECT DISTINCT a.kek_version_id FROM added a) ORDER BY v.version_id FOR SHARE;
    SELECT a.kek_version_id INTO shut
      FROM (SELECT DISTINCT a.kek_version_id FROM added a) a
      LEFT JOIN public.inventory_kekversion v ON v.version_id = a.kek_version_id AND v.closed_at IS NULL
     WHERE v.version_id IS NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'KEK version % is closed to wraps, or is none', shut USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM added a LEFT JOIN public.inventory_dekversion d ON d.version_id = a.dek_version_id
                WHERE d.version_id IS NULL OR d.cleared_at IS NOT NULL) THEN
        RAISE EXCEPTION 'there is no such DEK version, or it was cleared' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER inventory_wrapping_added AFTER INSERT ON public.inventory_wrapping
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.inventory_wrapping_added();

-- Rotation, which knows the requests, says who may take the last one (rotation/0011_orders).
CREATE FUNCTION public.inventory_may_clear(dek_versions bigint[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;

-- The one under the latest KEK version is never removed but by votes: two that each remove the other's cannot meet.
CREATE FUNCTION public.inventory_wrapping_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bare bigint[];
BEGIN
    SELECT array_agg(r.dek_version_id) INTO bare
      FROM removed r
     WHERE NOT EXISTS (SELECT FROM public.inventory_wrapping w
                        WHERE w.dek_version_id = r.dek_version_id AND w.kek_version_id > r.kek_version_id);
    IF bare IS NOT NULL AND NOT public.inventory_may_clear(bare) THEN
        RAISE EXCEPTION 'DEK version % would be left without a wrapping', bare[1] USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER inventory_wrapping_removed AFTER DELETE ON public.inventory_wrapping
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION public.inventory_wrapping_removed();

CREATE FUNCTION public.inventory_kekversion_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL AND NEW.closed_at IS NULL AND NEW.status <> 'enabled' THEN
        RAISE EXCEPTION 'KEK version % is not enabled in its store', NEW.version_id USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.closed_at IS NOT NULL OR NEW.closed_at IS NULL THEN
        RETURN NEW;
    END IF;
    IF EXISTS (SELECT FROM public.inventory_kek k WHERE k.primary_id = NEW.version_id) THEN
        RAISE EXCEPTION 'KEK version % takes the new wraps', NEW.version_id USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM public.inventory_wrapping w WHERE w.kek_version_id = NEW.version_id)
        OR EXISTS (SELECT FROM public.inventory_kekversionhold h
                    WHERE h.kek_version_id = NEW.version_id AND h.released_at IS NULL)
        OR EXISTS (SELECT FROM public.inventory_handout o
                    WHERE o.kek_version_id = NEW.version_id AND o.confirmed_at IS NULL) THEN
        RAISE EXCEPTION 'KEK version % is still needed', NEW.version_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inventory_kekversion_guard BEFORE UPDATE OF closed_at ON public.inventory_kekversion
    FOR EACH ROW EXECUTE FUNCTION public.inventory_kekversion_guard();

-- Whoever comes to need a version locks it against closing, and finds it open.
CREATE FUNCTION public.inventory_kekversion_needed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM public.inventory_kekversion v
      WHERE v.version_id = NEW.kek_version_id AND v.closed_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'KEK version % is closed', NEW.kek_version_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inventory_kekversion_needed BEFORE INSERT ON public.inventory_kekversionhold
    FOR EACH ROW EXECUTE FUNCTION public.inventory_kekversion_needed();
CREATE TRIGGER inventory_kekversion_needed BEFORE INSERT ON public.inventory_handout
    FOR EACH ROW EXECUTE FUNCTION public.inventory_kekversion_needed();

-- What stops to need a version does so once; of a handed-out copy the log is told in the same transaction.
CREATE FUNCTION public.inventory_needed_no_more() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_NAME = 'inventory_kekversionhold' THEN
        IF OLD.released_at IS NOT NULL THEN
            RAISE EXCEPTION 'hold % was released', OLD.id USING ERRCODE = 'check_violation';
        END IF;
    ELSIF OLD.confirmed_at IS NOT NULL THEN
        RAISE EXCEPTION 'hand-out % was confirmed', OLD.id USING ERRCODE = 'check_violation';
    ELSIF NOT EXISTS (
        SELECT FROM public.audit_pending p, LATERAL (SELECT convert_from(p.body, 'UTF8')::jsonb AS said) event
         WHERE said ->> 'action' = 'dek.hand_out_confirmed' AND said ->> 'outcome' = 'done'
           AND said -> 'facts' ->> 'hand_out' = OLD.id::text)
    THEN
        RAISE EXCEPTION 'to confirm a hand-out needs an event of the same transaction' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inventory_needed_no_more BEFORE UPDATE ON public.inventory_handout
    FOR EACH ROW EXECUTE FUNCTION public.inventory_needed_no_more();
CREATE TRIGGER inventory_needed_no_more BEFORE UPDATE ON public.inventory_kekversionhold
    FOR EACH ROW EXECUTE FUNCTION public.inventory_needed_no_more();

-- New wraps go to an open version of this very KEK, and nobody closes it in the same moment.
CREATE FUNCTION public.inventory_kek_primary() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.primary_id IS NOT NULL AND NEW.primary_id IS DISTINCT FROM OLD.primary_id THEN
        PERFORM 1 FROM public.inventory_kekversion v
          WHERE v.version_id = NEW.primary_id AND v.kek_id = NEW.key_id AND v.closed_at IS NULL FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'version % of KEK % takes no wraps, or is of another one', NEW.primary_id, NEW.key_id
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inventory_kek_primary BEFORE UPDATE OF primary_id ON public.inventory_kek
    FOR EACH ROW EXECUTE FUNCTION public.inventory_kek_primary();

-- What proves that a DEK belongs to its row is found at its first opening, and is the proof from then on.
CREATE FUNCTION public.inventory_dekversion_bound() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user = 'keyvault_worker' THEN
        RAISE EXCEPTION 'DEK version % is bound, or cleared, once', OLD.version_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER inventory_dekversion_bound BEFORE UPDATE OF binding, cleared_at ON public.inventory_dekversion
    FOR EACH ROW WHEN (OLD.binding IS NOT NULL AND NEW.binding IS DISTINCT FROM OLD.binding
        OR OLD.cleared_at IS NOT NULL AND NEW.cleared_at IS DISTINCT FROM OLD.cleared_at)
    EXECUTE FUNCTION public.inventory_dekversion_bound();

REVOKE ALL ON FUNCTION public.inventory_needed_no_more(), public.inventory_kek_primary(),
    public.inventory_dekversion_bound() FROM PUBLIC;
REVOKE ALL ON FUNCTION public.inventory_wrapping_added(), public.inventory_may_clear(bigint[]),
    public.inventory_wrapping_removed(), public.inventory_kekversion_guard(), public.inventory_kekversion_needed()
    FROM PUBLIC;

-- The pages count wrappings and never read one. A canary protects nothing.
GRANT SELECT ON public.inventory_kek, public.inventory_dekversion, public.inventory_kekversionhold,
    public.inventory_handout TO keyvault_app;
GRANT SELECT ON public.inventory_kekversion TO keyvault_app;
GRANT SELECT (kek_version_id, dek_version_id) ON public.inventory_wrapping TO keyvault_app;
GRANT SELECT ON public.inventory_wrapping TO keyvault_worker, keyvault_command;
GRANT INSERT ON public.inventory_kek, public.inventory_kekversion, public.inventory_dekversion,
    public.inventory_wrapping, public.inventory_kekversionhold TO keyvault_worker;
GRANT UPDATE (primary_id, newest_seen, looked_at) ON public.inventory_kek TO keyvault_worker;
GRANT UPDATE (status, status_at, scheduled_for, closed_at, canary, death, death_at) ON public.inventory_kekversion
    TO keyvault_worker;
-- A DEK is wrapped, and thereby bound to the number of its record, before there is one.
GRANT INSERT (id) ON public.inventory_key TO keyvault_worker;
GRANT USAGE ON SEQUENCE public.inventory_key_id_seq TO keyvault_worker;
GRANT UPDATE (binding, cleared_at) ON public.inventory_dekversion TO keyvault_worker;
GRANT UPDATE (reencrypted_at, reencrypted_by) ON public.inventory_dekversion
    TO keyvault_web, keyvault_worker, keyvault_command;
GRANT DELETE ON public.inventory_wrapping TO keyvault_worker;
GRANT UPDATE (released_at, released_because) ON public.inventory_kekversionhold TO keyvault_worker;
GRANT INSERT ON public.inventory_handout TO keyvault_web, keyvault_worker, keyvault_command;
GRANT UPDATE (confirmed_at, confirmed_by) ON public.inventory_handout TO keyvault_web, keyvault_worker, keyvault_command;
GRANT USAGE ON SEQUENCE public.inventory_handout_id_seq TO keyvault_web, keyvault_worker, keyvault_command;
GRANT USAGE ON SEQUENCE public.inventory_kekversionhold_id_seq TO keyvault_worker;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0019_no_held_changes"),
    ]

    operations = [
        migrations.CreateModel(
            name="Kek",
            fields=[
                (
                    "key",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="kek",
                        serialize=False,
                        to="inventory.key",
                    ),
                ),
                ("uri", models.CharField(max_length=200, unique=True)),
                ("algorithm", models.CharField(max_length=30)),
                ("newest_seen", models.CharField(blank=True, max_length=64)),
                ("looked_at", models.DateTimeField(null=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="DekVersion",
            fields=[
                (
                    "version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="dek_version",
                        serialize=False,
                        to="inventory.keyversion",
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("binding", models.BinaryField(null=True)),
                ("context", models.BinaryField(db_default=b"", default=b"")),
                ("reencrypted_at", models.DateTimeField(null=True)),
                ("reencrypted_by", models.CharField(blank=True, max_length=100)),
                ("cleared_at", models.DateTimeField(null=True)),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="dek_versions",
                        to="inventory.key",
                    ),
                ),
            ],
            options={
                "permissions": [
                    ("create_dek", "Can have a DEK made or rotated"),
                    ("hand_out_dek", "Can hand out a wrapped DEK and confirm what was handed out"),
                ],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="KekVersion",
            fields=[
                (
                    "version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="kek_version",
                        serialize=False,
                        to="inventory.keyversion",
                    ),
                ),
                ("store_id", models.CharField(max_length=64)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("enabled", "enabled"),
                            ("disabled", "disabled"),
                            ("scheduled", "scheduled for destruction"),
                            ("gone", "gone"),
                        ],
                        default="enabled",
                        max_length=10,
                    ),
                ),
                ("status_at", models.DateTimeField()),
                ("scheduled_for", models.DateTimeField(null=True)),
                ("closed_at", models.DateTimeField(null=True)),
                ("canary", models.BinaryField(null=True)),
                ("death", models.CharField(blank=True, max_length=200)),
                ("death_at", models.DateTimeField(null=True)),
                (
                    "kek",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="versions", to="inventory.kek"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddField(
            model_name="kek",
            name="primary",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="inventory.kekversion"
            ),
        ),
        migrations.CreateModel(
            name="HandOut",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("handed_at", models.DateTimeField()),
                ("handed_by", models.CharField(max_length=100)),
                ("confirmed_at", models.DateTimeField(null=True)),
                ("confirmed_by", models.CharField(blank=True, max_length=100)),
                (
                    "dek_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="hand_outs", to="inventory.dekversion"
                    ),
                ),
                (
                    "service",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="hand_outs", to="inventory.service"
                    ),
                ),
                (
                    "kek_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="hand_outs", to="inventory.kekversion"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="KekVersionHold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("backup", "a retained backup"), ("source", "DEKs kept elsewhere")], max_length=10
                    ),
                ),
                ("ref", models.CharField(max_length=100)),
                ("because", models.CharField(max_length=300)),
                ("held_at", models.DateTimeField()),
                ("released_at", models.DateTimeField(null=True)),
                ("released_because", models.CharField(blank=True, max_length=300)),
                (
                    "kek_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="holds", to="inventory.kekversion"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Wrapping",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "kek_version_id",
                        "dek_version_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("wrapped", models.BinaryField()),
                (
                    "dek_version",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="wrappings",
                        to="inventory.dekversion",
                    ),
                ),
                (
                    "kek_version",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="wrappings",
                        to="inventory.kekversion",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.AddConstraint(
            model_name="dekversion",
            constraint=models.UniqueConstraint(fields=("key", "number"), name="dekversion_unique"),
        ),
        migrations.AddConstraint(
            model_name="dekversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("binding__isnull", True),
                    django.db.models.lookups.Exact(django.db.models.functions.text.Length("binding"), 32),
                    _connector="OR",
                ),
                name="dekversion_binding_whole",
            ),
        ),
        migrations.AddConstraint(
            model_name="kekversion",
            constraint=models.UniqueConstraint(fields=("kek", "store_id"), name="kekversion_store_id_unique"),
        ),
        migrations.AddConstraint(
            model_name="kek",
            constraint=models.CheckConstraint(
                condition=models.Q(("uri__regex", "^[a-z0-9]+:[A-Za-z0-9_-]+/[!-~]+$")), name="kek_has_uri"
            ),
        ),
        migrations.AddIndex(
            model_name="handout",
            index=models.Index(
                condition=models.Q(("confirmed_at__isnull", True)), fields=["kek_version"], name="handout_unconfirmed"
            ),
        ),
        migrations.AddConstraint(
            model_name="handout",
            constraint=models.UniqueConstraint(
                condition=models.Q(("confirmed_at__isnull", True)),
                fields=("dek_version", "kek_version", "service"),
                name="handout_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="kekversionhold",
            constraint=models.UniqueConstraint(
                condition=models.Q(("released_at__isnull", True)),
                fields=("kek_version", "kind", "ref"),
                name="hold_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="kekversionhold",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("released_at__isnull", True), ("released_because", "")),
                    models.Q(("released_at__isnull", False), models.Q(("released_because", ""), _negated=True)),
                    _connector="OR",
                ),
                name="hold_released_says_why",
            ),
        ),
        migrations.AddIndex(
            model_name="wrapping",
            index=models.Index(fields=["dek_version", "kek_version"], name="wrapping_of_dek"),
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
    ]
