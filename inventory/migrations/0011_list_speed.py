"""What a search finds a key by moves to a table of its own, and the indexes follow what the lists ask."""

import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models

# A key's dates change a million at a time, its words hardly ever: apart, they do not pay for each other. The triggers see
# every way in, and no login role may write the table. Who renames a person or a service and who names them in a key at
# the same time wait for each other at the locked rows, so that no key keeps the old name.
FUNCTIONS = r"""
CREATE FUNCTION public.inventory_write_words(keys bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM public.inventory_owner o
      WHERE o.id IN (SELECT unnest(ARRAY[k.owner_id, k.creator_id]) FROM public.inventory_key k WHERE k.id = ANY (keys))
      ORDER BY o.id FOR KEY SHARE;
    PERFORM 1 FROM public.inventory_service s
      WHERE s.id IN (SELECT k.service_id FROM public.inventory_key k WHERE k.id = ANY (keys))
      ORDER BY s.id FOR KEY SHARE;
    INSERT INTO public.inventory_keysearch (key_id, text)
    SELECT k.id, concat_ws(E'\n', k.name, nullif(k.purpose, ''), s.name, o.handle, c.handle, nullif(k.algorithm, ''),
                           nullif(k.storage_location, ''), nullif(k.secret_name, ''))
      FROM public.inventory_key k
      LEFT JOIN public.inventory_service s ON s.id = k.service_id
      LEFT JOIN public.inventory_owner o ON o.id = k.owner_id
      LEFT JOIN public.inventory_owner c ON c.id = k.creator_id
     WHERE k.id = ANY (keys)
     ORDER BY k.id
        ON CONFLICT (key_id) DO UPDATE SET text = EXCLUDED.text;
END
$$;

CREATE FUNCTION public.inventory_words_of_new() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.inventory_write_words(ARRAY(SELECT id FROM registered));
    RETURN NULL;
END
$$;

CREATE FUNCTION public.inventory_words_of_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.inventory_write_words(ARRAY[NEW.id]);
    RETURN NULL;
END
$$;

CREATE FUNCTION public.inventory_words_of_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.inventory_write_words(
        ARRAY(SELECT id FROM public.inventory_key WHERE owner_id = NEW.id
              UNION SELECT id FROM public.inventory_key WHERE creator_id = NEW.id));
    RETURN NULL;
END
$$;

CREATE FUNCTION public.inventory_words_of_service() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.inventory_write_words(ARRAY(SELECT id FROM public.inventory_key WHERE service_id = NEW.id));
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION public.inventory_write_words(bigint[]), public.inventory_words_of_new(),
    public.inventory_words_of_key(), public.inventory_words_of_owner(), public.inventory_words_of_service() FROM PUBLIC;
GRANT SELECT ON public.inventory_keysearch TO keyvault_app;
"""

TRIGGERS = r"""
CREATE TRIGGER key_registered AFTER INSERT ON public.inventory_key
    REFERENCING NEW TABLE AS registered FOR EACH STATEMENT EXECUTE FUNCTION public.inventory_words_of_new();
CREATE TRIGGER key_said
    AFTER UPDATE OF name, purpose, service_id, owner_id, creator_id, algorithm, storage_location, secret_name
    ON public.inventory_key FOR EACH ROW
    WHEN ((OLD.name, OLD.purpose, OLD.service_id, OLD.owner_id, OLD.creator_id, OLD.algorithm, OLD.storage_location,
           OLD.secret_name)
          IS DISTINCT FROM
          (NEW.name, NEW.purpose, NEW.service_id, NEW.owner_id, NEW.creator_id, NEW.algorithm, NEW.storage_location,
           NEW.secret_name))
    EXECUTE FUNCTION public.inventory_words_of_key();
CREATE TRIGGER owner_renamed AFTER UPDATE OF handle ON public.inventory_owner FOR EACH ROW
    WHEN (OLD.handle IS DISTINCT FROM NEW.handle) EXECUTE FUNCTION public.inventory_words_of_owner();
CREATE TRIGGER service_renamed AFTER UPDATE OF name ON public.inventory_service FOR EACH ROW
    WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION public.inventory_words_of_service();
"""
DROPPED = r"""
DROP TRIGGER service_renamed ON public.inventory_service;
DROP TRIGGER owner_renamed ON public.inventory_owner;
DROP TRIGGER key_said ON public.inventory_key;
DROP TRIGGER key_registered ON public.inventory_key;
"""
FUNCTIONS_DROPPED = r"""
DROP FUNCTION public.inventory_words_of_service(), public.inventory_words_of_owner(), public.inventory_words_of_key(),
    public.inventory_words_of_new(), public.inventory_write_words(bigint[]);
"""
# Django makes a second index of a unique text, for LIKE; nothing asks it, and each change of a date would write it.
LIKE_INDEX = r"""
DO $$
DECLARE
    found text;
BEGIN
    FOR found IN SELECT indexname FROM pg_indexes
                  WHERE schemaname = 'public' AND tablename = 'inventory_key' AND indexname LIKE 'inventory\_key\_name\_%\_like'
    LOOP
        EXECUTE format('DROP INDEX public.%I', found);
    END LOOP;
END
$$;
"""
FILL = "SELECT public.inventory_write_words(ARRAY(SELECT id FROM public.inventory_key))"


class Migration(migrations.Migration):
    dependencies = [("inventory", "0010_import_options")]

    operations = [
        migrations.CreateModel(
            name="KeySearch",
            fields=[
                (
                    "key",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="search",
                        serialize=False,
                        to="inventory.key",
                    ),
                ),
                ("text", models.TextField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(FUNCTIONS, FUNCTIONS_DROPPED),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL(TRIGGERS, DROPPED),
        migrations.RemoveIndex(
            model_name="key",
            name="key_search",
        ),
        migrations.RemoveIndex(
            model_name="key",
            name="key_name_begins",
        ),
        migrations.RunSQL(LIKE_INDEX, migrations.RunSQL.noop),
        migrations.RemoveField(
            model_name="key",
            name="search_text",
        ),
        migrations.AlterField(
            model_name="key",
            name="integration",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="keys",
                to="inventory.integration",
            ),
        ),
        migrations.AlterField(
            model_name="key",
            name="service",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="keys",
                to="inventory.service",
            ),
        ),
        migrations.AlterField(
            model_name="key",
            name="tenant",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="keys",
                to="inventory.tenant",
            ),
        ),
        migrations.AlterField(
            model_name="key",
            name="vendor",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="keys",
                to="inventory.vendor",
            ),
        ),
        migrations.AlterField(
            model_name="key",
            name="winning_clause",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="keys_won",
                to="inventory.policyclause",
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(fields=["service", "rotate_by", "id"], name="key_service"),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                fields=["winning_clause", "kind", "environment", "classification", "access"], name="key_judged"
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(condition=models.Q(("tenant__isnull", False)), fields=["tenant"], name="key_tenant"),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(("integration__isnull", False)), fields=["integration"], name="key_integration"
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(condition=models.Q(("vendor__isnull", False)), fields=["vendor"], name="key_vendor"),
        ),
        migrations.RemoveIndex(
            model_name="key",
            name="key_can_be_overdue",
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(("state__in", ("active", "suspended", "compromised"))),
                fields=["rotate_by", "id"],
                include=("owner",),
                name="key_can_be_overdue",
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(("created_on__isnull", True), ("last_rotated_on__isnull", True)),
                fields=["rotate_by", "id"],
                name="key_age_unknown",
            ),
        ),
        migrations.AddIndex(
            model_name="keysearch",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.indexes.OpClass(
                    django.db.models.functions.text.Upper("text"), name="gin_trgm_ops"
                ),
                name="keysearch_text",
            ),
        ),
        migrations.AddIndex(
            model_name="keysearch",
            index=models.Index(
                django.contrib.postgres.indexes.OpClass(
                    django.db.models.functions.text.Upper(django.db.models.functions.text.Left("text", 200)),
                    name="text_pattern_ops",
                ),
                name="keysearch_begins",
            ),
        ),
    ]
