"""Who may export the log and review what changed the state of keys; and what erasing a person may write into a link."""

from django.db import migrations

from keyvault_admin.access.role_migration import carry_matrix

# The command may empty the subject of a link when a person is erased. Without a guard it could give somebody's account
# at the provider to somebody else.
GUARDS = r"""
CREATE FUNCTION public.access_link_is_erased() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.subject <> 'erased-' || OLD.id OR NEW.removed_at IS NULL THEN
        RAISE EXCEPTION 'a link to a provider changes by erasure alone' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION public.access_link_is_erased() FROM PUBLIC;
CREATE TRIGGER access_link_is_erased BEFORE UPDATE OF subject ON public.access_singlesignonlink FOR EACH ROW
    EXECUTE FUNCTION public.access_link_is_erased();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0010_personal_data"),
        ("audit", "0006_periods"),
        ("rotation", "0004_notice_indexes"),
    ]

    operations = [
        migrations.RunPython(carry_matrix, migrations.RunPython.noop),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
    ]
