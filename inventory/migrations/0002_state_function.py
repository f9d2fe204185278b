"""Who may write what, and the one function that writes states.

No login role may insert or update `state` of a key or a version: raw SQL and QuerySet.update() are refused for every
pair. inventory_set_state() checks the table of transitions, demands an event of the same transaction, and writes both. What
would change a state by another way (which version is current, whose version it is) is not theirs to write either.
"""

from django.db import migrations

# audit_pending holds the events of open transactions only, and everybody sees their own alone: an event found there by
# its id belongs to this transaction. It must say that the thing was done, and be the word for this very transition. A
# key without sealed events has no history: it may enter in the state that it has elsewhere. The pairs are those of
# inventory/states.py; a test compares all 49.
FUNCTION = r"""
CREATE FUNCTION public.inventory_set_state(version_ids bigint[], target text, event_id uuid) RETURNS void
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
                ('active', 'deactivated', 'key.rotated'),
                ('suspended', 'destroyed', 'key.destroyed'),
                ('suspended', 'active', 'key.reactivated'),
                ('suspended', 'compromised', 'key.compromised'),
                ('suspended', 'deactivated', 'key.deactivated'),
                ('suspended', 'deactivated', 'key.rotated'),
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
GRANT SELECT ON
    public.inventory_owner, public.inventory_service, public.inventory_tenant, public.inventory_integration,
    public.inventory_policyclause, public.inventory_key, public.inventory_keyversion
    TO keyvault_app;
GRANT SELECT, INSERT, DELETE ON public.inventory_importdraft TO keyvault_web;
DO $$
DECLARE
    tab text;
    fixed text[];
    once text;
    always text;
BEGIN
    FOR tab, fixed IN VALUES
        ('inventory_owner', ARRAY[]::text[]),
        ('inventory_service', ARRAY[]::text[]),
        ('inventory_tenant', ARRAY[]::text[]),
        ('inventory_integration', ARRAY[]::text[]),
        ('inventory_key', ARRAY['current_number']),
        ('inventory_keyversion', ARRAY['key_id', 'number'])
    LOOP
        SELECT string_agg(quote_ident(column_name), ', '),
               string_agg(quote_ident(column_name), ', ') FILTER (WHERE column_name <> ALL (fixed))
          INTO once, always
          FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name = tab AND column_name NOT IN ('id', 'state');
        EXECUTE format('GRANT INSERT (%s), UPDATE (%s) ON public.%I TO keyvault_app', once, always, tab);
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
