"""A new sealing key: the sealed key of a person may be replaced by the same key sealed anew, by a command.

Whether the new bytes hold the same key the database cannot know; audit.resealing opens them before it asks.
"""

from django.db import migrations

RESEAL = r"""
-- Replaces exactly these bytes of exactly this person by others of the same length; says whether they were still there.
-- An erased key stays erased. Errors: 42501 without the event of it in the same transaction, 22023 not a sealed key.
CREATE FUNCTION public.audit_identity_reseal(person text, replaced bytea, renewed bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.audit_pending pending
        WHERE convert_from(pending.body, 'UTF8')::jsonb @> jsonb_build_object(
            'action', 'sealing_key.rotated', 'outcome', 'done',
            'subjects', jsonb_build_array(jsonb_build_object('ref', 'sealed:identity_key')))
    ) THEN
        RAISE EXCEPTION 'sealing a key anew needs its event in the same transaction' USING ERRCODE = '42501';
    END IF;
    IF octet_length(audit_identity_reseal.renewed) IS DISTINCT FROM octet_length(audit_identity_reseal.replaced)
        OR substr(audit_identity_reseal.renewed, 1, 1) <> '\x01'
        OR substr(audit_identity_reseal.renewed, 1, 5) = substr(audit_identity_reseal.replaced, 1, 5) THEN
        RAISE EXCEPTION 'this is not the same key under another one' USING ERRCODE = '22023';
    END IF;
    UPDATE public.audit_identity_key key SET sealed_key = audit_identity_reseal.renewed
    WHERE key.person = audit_identity_reseal.person AND key.sealed_key = audit_identity_reseal.replaced;
    RETURN FOUND;
END
$$;
REVOKE ALL ON FUNCTION public.audit_identity_reseal(text, bytea, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.audit_identity_reseal(text, bytea, bytea) TO keyvault_command;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_checkpoints")]

    operations = [migrations.RunSQL(RESEAL, migrations.RunSQL.noop)]
