"""How long the log is kept is a row that people vote on; and dropping a period, erasing an identity need a request.

Requests live above this application: until rotation/0007 and access/0012 say what permits these acts, nothing does. An
owner who wants to get round it drops the table, and `verify_audit` says so.
"""

from django.db import migrations, models

TABLE = r"""
GRANT SELECT ON public.audit_retention TO keyvault_app;
GRANT INSERT (id, days, revision, set_at, set_by), UPDATE (days, revision, set_at, set_by)
    ON public.audit_retention TO keyvault_worker;

CREATE FUNCTION public.audit_retention_permit(days integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;
CREATE FUNCTION public.audit_drop_permit(number integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;
CREATE FUNCTION public.audit_erase_permit(person text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT person NOT LIKE 'user:%' $$;

CREATE FUNCTION public.audit_retention_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT public.audit_retention_permit(NEW.days) THEN
        RAISE EXCEPTION 'how long the log is kept is changed by votes' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_retention_guard BEFORE INSERT OR UPDATE ON public.audit_retention
    FOR EACH ROW EXECUTE FUNCTION public.audit_retention_guard();
REVOKE ALL ON FUNCTION public.audit_retention_permit(integer), public.audit_drop_permit(integer),
    public.audit_erase_permit(text), public.audit_retention_guard() FROM PUBLIC;
"""

ERASE = r"""
CREATE OR REPLACE FUNCTION public.audit_identity_erase(person text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.audit_pending pending
        WHERE convert_from(pending.body, 'UTF8')::jsonb @> jsonb_build_object(
            'action', 'person.erased', 'outcome', 'done',
            'subjects', jsonb_build_array(jsonb_build_object('ref', audit_identity_erase.person)))
    ) THEN
        RAISE EXCEPTION 'erasing an identity needs its event in the same transaction' USING ERRCODE = '42501';
    ELSIF NOT public.audit_erase_permit(audit_identity_erase.person) THEN
        RAISE EXCEPTION 'no request that is being carried out permits to erase %', audit_identity_erase.person
            USING ERRCODE = '42501';
    END IF;
    UPDATE public.audit_identity_key key SET sealed_key = NULL, erased_at = clock_timestamp()
    WHERE key.person = audit_identity_erase.person AND key.sealed_key IS NOT NULL;
    RETURN FOUND;
END
$$;
"""

# As before, and it asks for the request, and for the retention that people have voted for. The log is locked before its
# head: whoever is being sealed holds the head and needs the log.
DROP = r"""
CREATE OR REPLACE FUNCTION public.audit_drop_period(number integer, export_digest bytea) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    actor text := public.audit_period_actor('audit.period_dropped', audit_drop_period.number);
    period public.audit_period;
    held record;
    part record;
    kept integer := (SELECT days FROM public.audit_retention);
BEGIN
    IF NOT public.audit_drop_permit(audit_drop_period.number) THEN
        RAISE EXCEPTION 'No request that is being carried out permits to drop period %.', audit_drop_period.number
            USING ERRCODE = 'KA002';
    END IF;
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
        < greatest(held.newest, period.newest_at) + make_interval(days => greatest(period.retention_days, kept, 365)) THEN
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
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0006_periods")]

    operations = [
        migrations.CreateModel(
            name="Retention",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("days", models.IntegerField()),
                ("revision", models.PositiveIntegerField()),
                ("set_at", models.DateTimeField()),
                ("set_by", models.CharField(max_length=100)),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="audit_retention_one_row"),
                    models.CheckConstraint(condition=models.Q(("days__gte", 365)), name="audit_retention_kept_a_year"),
                ],
            },
        ),
        migrations.RunSQL([TABLE, ERASE, DROP], migrations.RunSQL.noop),
    ]
