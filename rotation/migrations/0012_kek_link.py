"""A record is linked to the KEK in its store by an order, which gives it the versions that it lacks."""

from django.db import migrations, models

# As in 0011, and this: an order that links a record.
PERMIT = r"""
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
                ('kek.rotate', 'key.rotated'), ('dek.rotate', 'key.rotated'), ('kek.link', 'key.rotated'),
                ('kek.schedule', 'key.destroyed'), ('kek.purge', 'key.destroyed'))
           AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(event -> 'subjects') s WHERE s ->> 'ref' <> 'key:' || o.key_id)))
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("rotation", "0011_orders")]

    operations = [
        migrations.AlterField(
            model_name="order",
            name="act",
            field=models.CharField(
                choices=[
                    ("kek.create", "make a KEK, or take over one that is there"),
                    ("kek.link", "link a record to a KEK in its store"),
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
        migrations.RunSQL(PERMIT, migrations.RunSQL.noop),
    ]
