"""The append-only log: tables, the function that appends, the triggers that number and chain, and the grants.

Runs as keyvault_owner. There is no way back: a log that a migration can drop is none.
"""

from django.db import migrations, models

TABLES = r"""
-- Events between record() and the end of their transaction. No row outlives its transaction, so nothing is lost with an
-- unlogged table, and the body is written to the WAL once instead of twice.
CREATE UNLOGGED TABLE public.audit_pending (
    id       uuid PRIMARY KEY,
    body     bytea NOT NULL,
    identity bytea
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE TABLE public.audit_event (
    number       bigint NOT NULL CHECK (number > 0),
    id           uuid NOT NULL,
    digest       bytea NOT NULL CHECK (octet_length(digest) = 32),
    stamp        bytea NOT NULL,
    body         bytea NOT NULL,
    identity     bytea,
    action       text NOT NULL,
    outcome      text NOT NULL,
    at           timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL,
    actor_kind   text NOT NULL,
    actor_id     text NOT NULL,
    actor_role   text NOT NULL,
    on_behalf_of text NOT NULL,
    path         text NOT NULL,
    PRIMARY KEY (number)
) PARTITION BY RANGE (number);
CREATE INDEX audit_event_id ON public.audit_event (id);
CREATE INDEX audit_event_action ON public.audit_event (action, number);
CREATE INDEX audit_event_actor ON public.audit_event (actor_id, number);
CREATE INDEX audit_event_at ON public.audit_event (at);

CREATE TABLE public.audit_event_subject (
    subject  text NOT NULL,
    number   bigint NOT NULL,
    position integer NOT NULL CHECK (position > 0),
    PRIMARY KEY (subject, number)
) PARTITION BY RANGE (number);

CREATE TABLE public.audit_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    number bigint NOT NULL CHECK (number >= 0),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
INSERT INTO public.audit_head (number, digest) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE TABLE public.audit_identity_key (
    person     text PRIMARY KEY CHECK (person <> ''),
    sealed_key bytea,
    created_at timestamptz NOT NULL,
    erased_at  timestamptz,
    CHECK ((sealed_key IS NULL) = (erased_at IS NOT NULL))
);
"""

PARTITIONS = r"""
-- How many numbers have a partition: 250,000 a partition, the last six digits of its name count from 0.
CREATE FUNCTION public.audit_capacity() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(max(right(child.relname::text, 6)::bigint) + 1, 0) * 250000
    FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'public.audit_event'::regclass
$$;

-- Makes partitions until half a million events fit; returns how many it made. Idempotent. A partition is filled with its
-- constraint before it is attached, so the parent is locked against other such changes only, never against appends.
CREATE FUNCTION public.audit_extend() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    capacity bigint;
    made integer := 0;
    parent text;
    child text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit_extend', 0));
    LOOP
        capacity := public.audit_capacity();
        EXIT WHEN capacity >= 500000 + (SELECT number FROM public.audit_head);
        FOREACH parent IN ARRAY ARRAY['audit_event', 'audit_event_subject'] LOOP
            child := parent || '_' || lpad((capacity / 250000)::text, 6, '0');
            EXECUTE format(
                'CREATE TABLE public.%1$I (LIKE public.%2$I INCLUDING CONSTRAINTS INCLUDING STORAGE, '
                'CONSTRAINT in_range CHECK (number >= %3$s AND number < %4$s))',
                child, parent, capacity + 1, capacity + 250001);
            EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%s) TO (%s)',
                parent, child, capacity + 1, capacity + 250001);
            EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT in_range', child);
        END LOOP;
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
"""

APPENDING = r"""
-- The only door. It refuses what could not be read back from the log; that the bytes are canonical and true it cannot
-- know. Errors: 22023 not an event, 23505 the id exists (at commit), 42501 an execution reported by somebody else than the worker.
CREATE FUNCTION public.audit_append(id uuid, body bytea, identity bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    said jsonb;
BEGIN
    IF octet_length(audit_append.body) > 1048576 OR octet_length(audit_append.identity) > 16384 THEN
        RAISE EXCEPTION 'the event is too large' USING ERRCODE = '22023';
    END IF;
    said := convert_from(audit_append.body, 'UTF8')::jsonb;
    IF NOT public.audit_is_event(audit_append.id, said)
        OR (said #>> '{actor,identity}' = '') <> (audit_append.identity IS NULL) THEN
        RAISE EXCEPTION 'the body is not an event of version 1' USING ERRCODE = '22023';
    END IF;
    IF said ->> 'action' LIKE '%.executed' AND session_user <> 'keyvault_worker' THEN
        RAISE EXCEPTION 'only the worker reports an execution' USING ERRCODE = '42501';
    END IF;
    INSERT INTO public.audit_pending VALUES (audit_append.id, audit_append.body, audit_append.identity);
END
$$;

-- Whether everything that becomes a column is there, in its form.
CREATE FUNCTION public.audit_is_event(id uuid, said jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        said -> 'v' = '1' AND said ->> 'id' = id::text
        AND said ->> 'action' ~ '^[a-z][a-z_]*\.[a-z][a-z_]*$'
        AND said ->> 'outcome' IN ('done', 'refused', 'failed')
        AND said ->> 'at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$'
        AND said -> 'actor' ->> 'kind' IN ('person', 'system', 'anonymous')
        AND said -> 'actor' ->> 'id' <> ''
        AND jsonb_typeof(said -> 'actor' -> 'role') = 'string'
        AND jsonb_typeof(said -> 'actor' -> 'on_behalf_of') = 'string'
        AND said -> 'actor' ->> 'identity' ~ '^([0-9a-f]{64})?$'
        AND jsonb_typeof(said -> 'path') = 'string' AND said ->> 'path' !~ '[?#]'
        AND CASE jsonb_typeof(said -> 'subjects') WHEN 'array' THEN
            jsonb_array_length(said -> 'subjects') <= 1000
            AND (SELECT count(DISTINCT each ->> 'ref') FILTER (
                    WHERE jsonb_typeof(each -> 'ref') = 'string' AND length(each ->> 'ref') BETWEEN 1 AND 300
                ) FROM jsonb_array_elements(said -> 'subjects') each) = jsonb_array_length(said -> 'subjects')
        ELSE false END,
        false)
$$;

-- At commit every pending row leaves, and its leaving is what seals it. Two deferred triggers instead of one: those that
-- the first one queues run after all others of the transaction (foreign keys among them), so the lock on the head is
-- the last one taken and nobody who waits for it can hold what we still need. Whoever used the same id has committed by
-- now, as both rows would have stood in audit_pending.
CREATE FUNCTION public.audit_release() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM public.audit_event event WHERE event.id = NEW.id) THEN
        RAISE EXCEPTION 'the log has an event with this id' USING ERRCODE = '23505';
    END IF;
    DELETE FROM public.audit_pending pending WHERE pending.id = NEW.id;
    RETURN NULL;
END
$$;

-- Numbers, stamps and chains one event; audit/chain.py describes the bytes. Error KA001: no partition for the number.
CREATE FUNCTION public.audit_seal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head public.audit_head;
    said jsonb := convert_from(OLD.body, 'UTF8')::jsonb;
    moment timestamptz;
    stamp bytea;
BEGIN
    SELECT * INTO STRICT head FROM public.audit_head FOR UPDATE;
    head.number := head.number + 1;
    IF to_regclass('public.audit_event_' || lpad(((head.number - 1) / 250000)::text, 6, '0')) IS NULL THEN
        RAISE EXCEPTION 'the audit log has no partition for event %', head.number
            USING ERRCODE = 'KA001', HINT = 'Run SELECT audit_extend(); the beat does so every hour.';
    END IF;
    moment := clock_timestamp();
    stamp := 'keyvault-admin/audit/stamp/v1'::bytea || '\x00'
        || convert_to(session_user::text, 'UTF8') || '\x00'
        || convert_to(pg_backend_pid()::text, 'UTF8') || '\x00'
        || convert_to(pg_current_xact_id()::text, 'UTF8') || '\x00'
        || convert_to(to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8') || '\x00';
    head.digest := sha256('keyvault-admin/audit/event/v1'::bytea || '\x00' || head.digest || int8send(head.number)
        || int8send(octet_length(stamp)) || stamp || int8send(octet_length(OLD.body)) || OLD.body);
    INSERT INTO public.audit_event (number, id, digest, stamp, body, identity, action, outcome, at, recorded_at,
        actor_kind, actor_id, actor_role, on_behalf_of, path)
    VALUES (head.number, OLD.id, head.digest, stamp, OLD.body, OLD.identity,
        said ->> 'action', said ->> 'outcome', (said ->> 'at')::timestamptz, moment,
        said #>> '{actor,kind}', said #>> '{actor,id}', said #>> '{actor,role}', said #>> '{actor,on_behalf_of}',
        said ->> 'path');
    INSERT INTO public.audit_event_subject (subject, number, position)
    SELECT each ->> 'ref', head.number, position
    FROM jsonb_array_elements(said -> 'subjects') WITH ORDINALITY AS listed (each, position);
    UPDATE public.audit_head SET number = head.number, digest = head.digest;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER audit_release AFTER INSERT ON public.audit_pending
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.audit_release();
CREATE CONSTRAINT TRIGGER audit_seal AFTER DELETE ON public.audit_pending
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.audit_seal();
"""

IDENTITIES = r"""
-- Returns the person's sealed key: the one that exists, else the given one, which is kept. NULL: it was erased.
CREATE FUNCTION public.audit_identity_make(person text, sealed_key bytea) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF octet_length(audit_identity_make.sealed_key) NOT BETWEEN 32 AND 256
        OR length(audit_identity_make.person) > 300 THEN
        RAISE EXCEPTION 'this is no sealed key' USING ERRCODE = '22023';
    END IF;
    INSERT INTO public.audit_identity_key (person, sealed_key, created_at)
    VALUES (audit_identity_make.person, audit_identity_make.sealed_key, clock_timestamp())
    ON CONFLICT (person) DO NOTHING;
    RETURN (SELECT key.sealed_key FROM public.audit_identity_key key WHERE key.person = audit_identity_make.person);
END
$$;

-- Destroys the person's key, if this transaction records that it does. Error 42501: it does not. Says whether there was
-- a key to destroy.
CREATE FUNCTION public.audit_identity_erase(person text) RETURNS boolean
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
    END IF;
    UPDATE public.audit_identity_key key SET sealed_key = NULL, erased_at = clock_timestamp()
    WHERE key.person = audit_identity_erase.person AND key.sealed_key IS NOT NULL;
    RETURN FOUND;
END
$$;
"""

RIGHTS = r"""
REVOKE ALL ON FUNCTION public.audit_capacity(), public.audit_extend(), public.audit_append(uuid, bytea, bytea),
    public.audit_is_event(uuid, jsonb), public.audit_release(), public.audit_seal(),
    public.audit_identity_make(text, bytea), public.audit_identity_erase(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.audit_capacity(), public.audit_extend(), public.audit_append(uuid, bytea, bytea),
    public.audit_identity_make(text, bytea) TO keyvault_app;
GRANT EXECUTE ON FUNCTION public.audit_identity_erase(text) TO keyvault_command;
GRANT SELECT ON public.audit_event, public.audit_event_subject, public.audit_head, public.audit_identity_key
    TO keyvault_app;
SELECT public.audit_extend();
"""


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(TABLES),
                migrations.RunSQL(PARTITIONS),
                migrations.RunSQL(APPENDING),
                migrations.RunSQL(IDENTITIES),
                migrations.RunSQL(RIGHTS),
            ],
            state_operations=[
                migrations.CreateModel(
                    name="Event",
                    fields=[
                        ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                        ("event_id", models.UUIDField(db_column="id")),
                        ("digest", models.BinaryField()),
                        ("stamp", models.BinaryField()),
                        ("body", models.BinaryField()),
                        ("identity", models.BinaryField(null=True)),
                        ("action", models.TextField()),
                        ("outcome", models.TextField()),
                        ("at", models.DateTimeField()),
                        ("recorded_at", models.DateTimeField()),
                        ("actor_kind", models.TextField()),
                        ("actor_id", models.TextField()),
                        ("actor_role", models.TextField()),
                        ("on_behalf_of", models.TextField()),
                        ("path", models.TextField()),
                    ],
                    options={"db_table": "audit_event", "default_permissions": ("view",), "ordering": ["-number"]},
                ),
                migrations.CreateModel(
                    name="EventSubject",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "subject", "number", blank=True, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("subject", models.TextField()),
                        ("number", models.BigIntegerField()),
                        ("position", models.IntegerField()),
                    ],
                    options={"db_table": "audit_event_subject", "default_permissions": ()},
                ),
                migrations.CreateModel(
                    name="Head",
                    fields=[
                        ("single", models.BooleanField(primary_key=True, serialize=False)),
                        ("number", models.BigIntegerField()),
                        ("digest", models.BinaryField()),
                    ],
                    options={"db_table": "audit_head", "default_permissions": ()},
                ),
                migrations.CreateModel(
                    name="IdentityKey",
                    fields=[
                        ("person", models.TextField(primary_key=True, serialize=False)),
                        ("sealed_key", models.BinaryField(null=True)),
                        ("created_at", models.DateTimeField()),
                        ("erased_at", models.DateTimeField(null=True)),
                    ],
                    options={"db_table": "audit_identity_key", "default_permissions": ()},
                ),
            ],
        ),
    ]
