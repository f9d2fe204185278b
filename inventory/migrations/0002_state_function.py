"""Who may write what, and the one function that writes states.

No login role may insert or update `state` of a key or a version: raw SQL and QuerySet.update() are refused for every
pair. inventory_set_state() checks the table of transitions, demands an event of the same transaction, and writes both.
"""

from django.db import migrations

# audit_pending holds the events of open transactions only, and everybody sees their own alone: an event found there by
# its id belongs to this transaction. A key without sealed events has no history: it may enter in the state that it has
# elsewhere. The pairs are those of inventory/states.py; a test compares all 49.
FUNCTION = r"""
CREATE FUNCTION public.inventory_set_state(version_ids bigint[], target text, event_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event jsonb;
    subjects text[];
    wanted text[];
    refused record;
BEGIN
    SELECT convert_from(p.body, 'UTF8')::jsonb INTO event FROM public.audit_pending p WHERE p.id = event_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a change of state needs an event of the same transaction' USING ERRCODE = 'insufficient_privilege';
    END IF;
    subjects := ARRAY(SELECT s ->> 'ref' FROM jsonb_array_elements(event -> 'subjects') AS s);
    wanted := CASE target
        WHEN 'active' THEN ARRAY['key.activated', 'key.reactivated', 'key.rotated']
        WHEN 'suspended' THEN ARRAY['key.suspended']
        WHEN 'deactivated' THEN ARRAY['key.deactivated', 'key.rotated']
        WHEN 'compromised' THEN ARRAY['key.compromised']
        WHEN 'destroyed' THEN ARRAY['key.destroyed']
        WHEN 'destroyed_compromised' THEN ARRAY['key.compromised']
        ELSE ARRAY[]::text[]
    END;

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
            (v.state, target) IN (
                ('pre_activation', 'destroyed'), ('pre_activation', 'compromised'), ('pre_activation', 'active'),
                ('active', 'destroyed'), ('active', 'compromised'), ('active', 'suspended'), ('active', 'deactivated'),
                ('suspended', 'destroyed'), ('suspended', 'active'), ('suspended', 'compromised'),
                ('suspended', 'deactivated'),
                ('deactivated', 'compromised'), ('deactivated', 'destroyed'),
                ('compromised', 'destroyed'),
                ('destroyed', 'destroyed_compromised')
            )
            AND event ->> 'action' = ANY (wanted)
            OR v.state = 'pre_activation'
               AND target IN ('active', 'suspended', 'deactivated', 'compromised')
               AND event ->> 'action' IN ('key.registered', 'key.imported')
               AND NOT EXISTS (SELECT 1 FROM public.audit_event_subject s WHERE s.subject = 'key:' || v.key_id)
       );
    IF FOUND THEN
        RAISE EXCEPTION 'key % cannot go from % to % by %', refused.key_id, refused.state, target, event ->> 'action'
            USING ERRCODE = 'check_violation';
    END IF;

    UPDATE public.inventory_keyversion v SET state = target WHERE v.id = ANY (version_ids);
    UPDATE public.inventory_key k SET state = target
      FROM public.inventory_keyversion v
     WHERE v.id = ANY (version_ids) AND k.id = v.key_id AND k.current_number = v.number;
END
$$;
REVOKE ALL ON FUNCTION public.inventory_set_state(bigint[], text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.inventory_set_state(bigint[], text, uuid) TO keyvault_app;
"""

# Nothing of the inventory is ever deleted, and the id of a record never changes.
GRANTS = r"""
GRANT SELECT, INSERT, UPDATE ON
    public.inventory_owner, public.inventory_service, public.inventory_tenant, public.inventory_integration
    TO keyvault_app;
GRANT SELECT ON public.inventory_policyclause TO keyvault_app;
GRANT SELECT, INSERT, DELETE ON public.inventory_importdraft TO keyvault_web;
GRANT SELECT ON public.inventory_key, public.inventory_keyversion TO keyvault_app;
DO $$
DECLARE
    tab text;
    written text;
BEGIN
    FOREACH tab IN ARRAY ARRAY['inventory_key', 'inventory_keyversion'] LOOP
        SELECT string_agg(quote_ident(column_name), ', ') INTO written FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name = tab AND column_name NOT IN ('id', 'state');
        EXECUTE format('GRANT INSERT (%s), UPDATE (%s) ON public.%I TO keyvault_app', written, written, tab);
    END LOOP;
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("inventory", "0001_inventory"), ("audit", "0001_log")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION public.inventory_set_state(bigint[], text, uuid)"),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
