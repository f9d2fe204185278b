"""Closed periods: the table of stubs, the function that closes one, and the one with which the owner drops one.

A period is one partition. Both functions ask for the event in the same transaction. Neither believes its caller in what
the database knows itself: where the period begins and ends, the digests at both ends, how old its newest event is.
"""

import django.db.models.deletion
from django.db import migrations, models

FUNCTIONS = r"""
ALTER TABLE public.audit_period ADD CONSTRAINT audit_period_of_digests CHECK (
    octet_length(digest_before) = 32 AND octet_length(digest_after) = 32 AND octet_length(root) = 32
    AND octet_length(export_digest) = 32 AND octet_length(proof) % 32 = 0 AND octet_length(proof) <= 4096
    AND export_bytes > 0 AND length(export_name) BETWEEN 1 AND 200 AND closed_by <> '');

-- The partitions of the log and of its subject index, with the numbers that each may hold.
CREATE FUNCTION public.audit_partitions() RETURNS TABLE (parent text, child text, first bigint, last bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT parents.relname::text, pg_class.relname::text, bounds[1]::bigint, bounds[2]::bigint - 1
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid JOIN pg_class parents ON parents.oid = inhparent,
         regexp_match(pg_get_expr(pg_class.relpartbound, pg_class.oid), 'FROM \(''?(\d+)''?\) TO \(''?(\d+)''?\)') bounds
    WHERE inhparent IN ('public.audit_event'::regclass, 'public.audit_event_subject'::regclass)
$$;

-- Who records, in the transaction at hand, that this is done to this period. Error 42501: nobody does.
CREATE FUNCTION public.audit_period_actor(action text, number integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    actor text;
BEGIN
    SELECT said #>> '{actor,id}' INTO actor
    FROM (SELECT convert_from(pending.body, 'UTF8')::jsonb AS said FROM public.audit_pending pending) recorded
    WHERE said @> jsonb_build_object('action', audit_period_actor.action, 'outcome', 'done', 'subjects',
        jsonb_build_array(jsonb_build_object('ref', 'audit_period:' || audit_period_actor.number)));
    IF actor IS NULL THEN
        RAISE EXCEPTION 'this needs its event % in the same transaction', audit_period_actor.action
            USING ERRCODE = '42501';
    END IF;
    RETURN actor;
END
$$;

-- Closes the next period: the caller has exported it and vouches for the file, the root and the proof alone.
-- Error KA002, with a sentence: this period cannot be closed.
CREATE FUNCTION public.audit_close_period(number integer, root bytea, checkpoint bigint, proof bytea,
    retention_days integer, export_name text, export_bytes bigint, export_digest bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    actor text := public.audit_period_actor('audit.period_closed', audit_close_period.number);
    before public.audit_period;
    part record;
    held record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit_periods', 0));
    SELECT * INTO before FROM public.audit_period ORDER BY number DESC LIMIT 1;
    IF audit_close_period.number <> coalesce(before.number, 0) + 1 THEN
        RAISE EXCEPTION 'Period % is not the next one to close.', audit_close_period.number USING ERRCODE = 'KA002';
    END IF;
    SELECT first, last INTO part FROM public.audit_partitions()
    WHERE parent = 'audit_event' AND first = coalesce(before.last, 0) + 1;
    IF NOT FOUND OR part.last > (SELECT head.number FROM public.audit_head head) THEN
        RAISE EXCEPTION 'The period is not full yet.' USING ERRCODE = 'KA002';
    END IF;
    SELECT count(*) AS events, min(recorded_at) AS oldest, max(recorded_at) AS newest INTO held
    FROM public.audit_event event WHERE event.number BETWEEN part.first AND part.last;
    IF held.events <> part.last - part.first + 1 THEN
        RAISE EXCEPTION 'Events of the period are missing.' USING ERRCODE = 'KA002', HINT = 'Run verify_audit.';
    END IF;
    IF held.newest + make_interval(days => greatest(audit_close_period.retention_days, 365)) > clock_timestamp() THEN
        RAISE EXCEPTION 'By the clock of the database, the newest event of the period must still be kept.'
            USING ERRCODE = 'KA002';
    END IF;
    INSERT INTO public.audit_period (number, first, last, digest_before, digest_after, oldest_at, newest_at, root,
        checkpoint, proof, retention_days, export_name, export_bytes, export_digest, closed_at, closed_by, dropped_by)
    SELECT audit_close_period.number, part.first, part.last,
        coalesce(before.digest_after, decode(repeat('00', 32), 'hex')), event.digest, held.oldest, held.newest,
        audit_close_period.root, audit_close_period.checkpoint, audit_close_period.proof,
        audit_close_period.retention_days, audit_close_period.export_name, audit_close_period.export_bytes,
        audit_close_period.export_digest, clock_timestamp(), actor, ''
    FROM public.audit_event event WHERE event.number = part.last;
END
$$;

-- Drops the partition of a closed period. For the owner alone: nobody else may call it. Not SECURITY DEFINER, as whoever
-- may call it owns the tables anyway. Error KA002, with a sentence: this period cannot be dropped.
-- The log is locked before its head: whoever is being sealed holds the head and needs the log.
CREATE FUNCTION public.audit_drop_period(number integer, export_digest bytea) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    actor text := public.audit_period_actor('audit.period_dropped', audit_drop_period.number);
    period public.audit_period;
    held record;
    part record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit_periods', 0));
    SELECT * INTO period FROM public.audit_period stub WHERE stub.number = audit_drop_period.number FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Period % was not closed.', audit_drop_period.number USING ERRCODE = 'KA002';
    ELSIF period.dropped_at IS NOT NULL THEN
        RAISE EXCEPTION 'Period % was dropped already.', period.number USING ERRCODE = 'KA002';
    ELSIF EXISTS (SELECT FROM public.audit_period stub WHERE stub.number < period.number AND dropped_at IS NULL) THEN
        RAISE EXCEPTION 'Periods before period % must be dropped first.', period.number USING ERRCODE = 'KA002';
    ELSIF period.export_digest IS DISTINCT FROM audit_drop_period.export_digest THEN
        RAISE EXCEPTION 'This is not the export of period %.', period.number USING ERRCODE = 'KA002';
    END IF;
    PERFORM set_config('lock_timeout', '5s', true);
    LOCK TABLE public.audit_event, public.audit_event_subject IN ACCESS EXCLUSIVE MODE;
    SELECT count(*) AS events, max(event.recorded_at) AS newest,
        bool_or(event.number = period.last AND event.digest = period.digest_after) AS is_whole
    INTO held FROM public.audit_event event WHERE event.number BETWEEN period.first AND period.last;
    IF held.events <> period.last - period.first + 1 OR NOT held.is_whole THEN
        RAISE EXCEPTION 'The events of period % are not those that were closed.', period.number
            USING ERRCODE = 'KA002', HINT = 'Run verify_audit.';
    END IF;
    IF clock_timestamp() < period.closed_at OR clock_timestamp()
        < greatest(held.newest, period.newest_at) + make_interval(days => greatest(period.retention_days, 365)) THEN
        RAISE EXCEPTION 'By the clock of the database, the newest event of period % must still be kept.', period.number
            USING ERRCODE = 'KA002';
    END IF;
    UPDATE public.audit_period stub SET dropped_at = clock_timestamp(), dropped_by = actor
    WHERE stub.number = period.number;
    FOR part IN SELECT child FROM public.audit_partitions() WHERE first = period.first AND last = period.last LOOP
        EXECUTE format('DROP TABLE public.%I', part.child);
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION public.audit_partitions(), public.audit_period_actor(text, integer),
    public.audit_close_period(integer, bytea, bigint, bytea, integer, text, bigint, bytea),
    public.audit_drop_period(integer, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.audit_partitions() TO keyvault_app;
GRANT EXECUTE ON FUNCTION public.audit_close_period(integer, bytea, bigint, bytea, integer, text, bigint, bytea)
    TO keyvault_command;
GRANT SELECT ON public.audit_period TO keyvault_app;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_explorer")]

    operations = [
        migrations.CreateModel(
            name="Period",
            fields=[
                ("number", models.IntegerField(primary_key=True, serialize=False)),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("digest_before", models.BinaryField()),
                ("digest_after", models.BinaryField()),
                ("oldest_at", models.DateTimeField()),
                ("newest_at", models.DateTimeField()),
                ("root", models.BinaryField()),
                ("proof", models.BinaryField()),
                ("retention_days", models.IntegerField()),
                ("export_name", models.TextField()),
                ("export_bytes", models.BigIntegerField()),
                ("export_digest", models.BinaryField()),
                ("closed_at", models.DateTimeField()),
                ("closed_by", models.TextField()),
                ("dropped_at", models.DateTimeField(null=True)),
                ("dropped_by", models.TextField(blank=True)),
                (
                    "checkpoint",
                    models.ForeignKey(
                        db_column="checkpoint",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="periods",
                        to="audit.signedcheckpoint",
                    ),
                ),
            ],
            options={
                "verbose_name": "audit period",
                "db_table": "audit_period",
                "ordering": ["-number"],
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("last",), name="audit_period_one_end"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("checkpoint__gte", models.F("last")),
                            ("first__gt", 0),
                            ("last__gte", models.F("first")),
                            ("number__gt", 0),
                        ),
                        name="audit_period_counts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("retention_days__gte", 365)), name="audit_period_kept_a_year"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("dropped_at__isnull", True), ("dropped_by", "")),
                            models.Q(
                                ("dropped_at__isnull", False),
                                models.Q(("dropped_by", ""), _negated=True),
                                ("dropped_at__gte", models.F("closed_at")),
                            ),
                            _connector="OR",
                        ),
                        name="audit_period_dropped_by_somebody",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FUNCTIONS, migrations.RunSQL.noop),
    ]
