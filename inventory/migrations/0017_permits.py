"""What cannot be undone by one person changes a state only where a request permits it."""

from django.db import migrations

# Nobody is permitted anything until rotation, which knows the requests, says who is (rotation/0005_requests).
PERMIT = r"""
CREATE FUNCTION public.inventory_permit(event jsonb) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;
REVOKE ALL ON FUNCTION public.inventory_permit(jsonb) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [("inventory", "0016_own_keys")]

    operations = [migrations.RunSQL(PERMIT, "DROP FUNCTION public.inventory_permit(jsonb)")]
