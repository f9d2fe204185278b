"""What cannot be undone by one person changes a state, or a date that does, only where a request permits it."""

from importlib import import_module

from django.db import migrations

# Nobody is permitted anything until rotation, which knows the requests, says who is (rotation/0005_requests).
PERMIT = r"""
CREATE FUNCTION public.inventory_permit(event jsonb) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;
REVOKE ALL ON FUNCTION public.inventory_permit(jsonb) FROM PUBLIC;
"""

# inventory_set_state() of 0007, and this: destroying, re-activating, rotating, calling a key in use compromised, and
# deactivating it need the permit. Time needs none: where the period of protecting was over by the time of the event,
# the processes that do what time does (worker, command) deactivate without one. Free stay what one person may do at once
# (suspending; a compromise of a key that is in use no more, or not yet) and activating.
STATES = r"""
CREATE OR REPLACE FUNCTION public.inventory_set_state(version_ids bigint[], target text, event_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event jsonb;
    subjects text[];
    refused record;
BEGIN
    SELECT convert_from(p.body, 'UTF8')::jsonb INTO event FROM public.audit_pending p WHERE p.id = event_id;
    IF NOT FOUND OR event ->> 'outcome' <> 'done' THEN
        RAISE EXCEPTION 'a change of state needs an event of the same transaction' USING ERRCODE = 'insufficient_privilege';
    END IF;
    subjects := ARRAY(SELECT s ->> 'ref' FROM jsonb_array_elements(event -> 'subjects') AS s);

    PERFORM 1 FROM public.inventory_keyversion v WHERE v.id = ANY (version_ids) ORDER BY v.id FOR UPDATE;
    IF (SELECT count(*) FROM public.inventory_keyversion v WHERE v.id = ANY (version_ids)) <> cardinality(version_ids) THEN
        RAISE EXCEPTION 'there is no such version' USING ERRCODE = 'no_data_found';
    END IF;

    SELECT v.key_id, v.state INTO refused
      FROM public.inventory_keyversion v
     WHERE v.id = ANY (version_ids)
       AND NOT ('key:' || v.key_id = ANY (subjects));
    IF FOUND THEN
        RAISE EXCEPTION 'the event does not speak of key %', refused.key_id USING ERRCODE = 'insufficient_privilege';
    END IF;

    SELECT v.key_id, v.state INTO refused
      FROM public.inventory_keyversion v
     WHERE v.id = ANY (version_ids)
       AND NOT (
            (v.state, target, event ->> 'action') IN (
                ('pre_activation', 'destroyed', 'key.destroyed'),
                ('pre_activation', 'compromised', 'key.compromised'),
                ('pre_activation', 'active', 'key.activated'),
                ('pre_activation', 'active', 'key.rotated'),
                ('active', 'destroyed', 'key.destroyed'),
                ('active', 'compromised', 'key.compromised'),
                ('active', 'suspended', 'key.suspended'),
                ('active', 'deactivated', 'key.deactivated'),
                ('suspended', 'destroyed', 'key.destroyed'),
                ('suspended', 'active', 'key.reactivated'),
                ('suspended', 'compromised', 'key.compromised'),
                ('suspended', 'deactivated', 'key.deactivated'),
                ('deactivated', 'compromised', 'key.compromised'),
                ('deactivated', 'destroyed', 'key.destroyed'),
                ('compromised', 'destroyed', 'key.destroyed'),
                ('destroyed', 'destroyed_compromised', 'key.compromised')
            )
            OR v.state = 'pre_activation'
               AND target IN ('active', 'suspended', 'deactivated', 'compromised')
               AND event ->> 'action' IN ('key.registered', 'key.imported')
               AND NOT EXISTS (SELECT 1 FROM public.audit_event_subject s WHERE s.subject = 'key:' || v.key_id)
       );
    IF FOUND THEN
        RAISE EXCEPTION 'key % cannot go from % to % by %', refused.key_id, refused.state, target, event ->> 'action'
            USING ERRCODE = 'check_violation';
    END IF;

    SELECT v.key_id, v.state INTO refused
      FROM public.inventory_keyversion v JOIN public.inventory_key k ON k.id = v.key_id
     WHERE v.id = ANY (version_ids)
       AND (
            event ->> 'action' IN ('key.destroyed', 'key.reactivated', 'key.rotated')
            OR event ->> 'action' = 'key.compromised' AND v.state IN ('active', 'suspended')
            OR event ->> 'action' = 'key.deactivated' AND NOT (
                session_user IN ('keyvault_worker', 'keyvault_command')
                AND coalesce(k.protect_until <= (event ->> 'at')::timestamptz, false)
            )
       );
    IF FOUND AND NOT public.inventory_permit(event) THEN
        RAISE EXCEPTION 'key % goes from % to % by an approved request that is being carried out',
            refused.key_id, refused.state, target USING ERRCODE = 'insufficient_privilege';
    END IF;

    IF event ->> 'action' = 'key.rotated' THEN
        PERFORM 1 FROM public.inventory_keyversion old
           JOIN public.inventory_keyversion v ON v.key_id = old.key_id
          WHERE v.id = ANY (version_ids)
          ORDER BY old.id FOR UPDATE OF old;
        SELECT v.key_id, v.state INTO refused
          FROM public.inventory_keyversion v
          JOIN public.inventory_key k ON k.id = v.key_id
          LEFT JOIN public.inventory_keyversion old ON old.key_id = k.id AND old.number = k.current_number
         WHERE v.id = ANY (version_ids)
           AND NOT (v.number = k.current_number + 1 AND coalesce(old.state IN ('active', 'suspended'), false));
        IF FOUND THEN
            RAISE EXCEPTION 'this is not the next version of key %, or the one before is not in use', refused.key_id
                USING ERRCODE = 'check_violation';
        END IF;
        UPDATE public.inventory_keyversion old SET state = 'deactivated'
          FROM public.inventory_keyversion v
          JOIN public.inventory_key k ON k.id = v.key_id
         WHERE v.id = ANY (version_ids) AND old.key_id = k.id AND old.number = k.current_number;
        UPDATE public.inventory_key k SET current_number = v.number
          FROM public.inventory_keyversion v
         WHERE v.id = ANY (version_ids) AND k.id = v.key_id;
    END IF;

    UPDATE public.inventory_keyversion v SET state = target WHERE v.id = ANY (version_ids);
    UPDATE public.inventory_key k SET state = target
      FROM public.inventory_keyversion v
     WHERE v.id = ANY (version_ids) AND k.id = v.key_id AND k.current_number = v.number;
END
$$;
"""

# What the event says of the dates is what is written: its words are the only way in.
DATES = r"""
CREATE FUNCTION public.inventory_set_dates(event_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event jsonb;
BEGIN
    SELECT convert_from(p.body, 'UTF8')::jsonb INTO event FROM public.audit_pending p WHERE p.id = event_id;
    IF NOT FOUND OR event ->> 'outcome' <> 'done' OR event ->> 'action' <> 'key.dates_changed'
        OR NOT public.inventory_permit(event)
    THEN
        RAISE EXCEPTION 'the period of use changes by an approved request that is being carried out'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE public.inventory_key k SET
        activates_at = CASE WHEN said.after ? 'activates_at'
            THEN (said.after ->> 'activates_at')::timestamptz ELSE k.activates_at END,
        protect_until = CASE WHEN said.after ? 'protect_until'
            THEN (said.after ->> 'protect_until')::timestamptz ELSE k.protect_until END,
        process_until = CASE WHEN said.after ? 'process_until'
            THEN (said.after ->> 'process_until')::timestamptz ELSE k.process_until END
      FROM (SELECT s ->> 'ref' AS ref, s -> 'after' AS after FROM jsonb_array_elements(event -> 'subjects') s) said
     WHERE 'key:' || k.id = said.ref;
END
$$;
REVOKE ALL ON FUNCTION public.inventory_set_dates(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.inventory_set_dates(uuid) TO keyvault_app;
"""
BEFORE = import_module("inventory.migrations.0007_held_changes").FUNCTION


class Migration(migrations.Migration):
    dependencies = [("inventory", "0016_own_keys")]

    operations = [
        migrations.RunSQL(PERMIT, "DROP FUNCTION public.inventory_permit(jsonb)"),
        migrations.RunSQL(STATES, BEFORE),
        migrations.RunSQL(DATES, "DROP FUNCTION public.inventory_set_dates(uuid)"),
    ]
