"""Searches compare capitals with capitals, the name apart from the rest; late keys are counted off one index."""

from django.contrib.postgres.indexes import GinIndex
from django.db import migrations, models

_WRITE_WORDS = r"""
CREATE OR REPLACE FUNCTION public.inventory_write_words(keys bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM public.inventory_owner o
      WHERE o.id IN (SELECT unnest(ARRAY[k.owner_id, k.creator_id]) FROM public.inventory_key k WHERE k.id = ANY (keys))
      ORDER BY o.id FOR KEY SHARE;
    PERFORM 1 FROM public.inventory_service s
      WHERE s.id IN (SELECT k.service_id FROM public.inventory_key k WHERE k.id = ANY (keys))
      ORDER BY s.id FOR KEY SHARE;
    INSERT INTO public.inventory_keysearch (key_id, %(columns)s)
    SELECT k.id, %(words)s
      FROM public.inventory_key k
      LEFT JOIN public.inventory_service s ON s.id = k.service_id
      LEFT JOIN public.inventory_owner o ON o.id = k.owner_id
      LEFT JOIN public.inventory_owner c ON c.id = k.creator_id
     WHERE k.id = ANY (keys)
     ORDER BY k.id
        ON CONFLICT (key_id) DO UPDATE SET %(set)s;
END
$$;
"""
_WORDS = r"""concat_ws(E'\n', k.name, nullif(k.purpose, ''), s.name, o.handle, c.handle, nullif(k.algorithm, ''),
                           nullif(k.storage_location, ''), nullif(k.secret_name, ''))"""
IN_CAPITALS = _WRITE_WORDS % {
    "columns": "text, beginning",
    "words": f"upper({_WORDS}), upper(k.name)",
    "set": "text = EXCLUDED.text, beginning = EXCLUDED.beginning",
}
AS_WRITTEN = _WRITE_WORDS % {"columns": "text", "words": _WORDS, "set": "text = EXCLUDED.text"}
# All of it afresh, so that no room of the former texts is left; nothing may wait for the end of the transaction, or no
# index could be made.
FILL = (
    "SET CONSTRAINTS ALL IMMEDIATE",
    "TRUNCATE public.inventory_keysearch",
    "SELECT public.inventory_write_words(ARRAY(SELECT id FROM public.inventory_key))",
    "SET CONSTRAINTS ALL DEFERRED",
)
WRITE_AGAIN = """
ALTER TABLE public.inventory_keysearch ALTER beginning SET DEFAULT '';
SELECT public.inventory_write_words(ARRAY(SELECT id FROM public.inventory_key))
"""
ANALYZE = "ANALYZE public.inventory_keysearch"  # before the first search, so that the planner knows the new column


class Migration(migrations.Migration):
    dependencies = [("inventory", "0020_custody")]

    operations = [
        migrations.RemoveIndex(model_name="keysearch", name="keysearch_text"),
        migrations.RemoveIndex(model_name="keysearch", name="keysearch_begins"),
        migrations.AddField(
            model_name="keysearch",
            name="beginning",
            field=models.TextField(default=""),
            preserve_default=False,
        ),
        migrations.RunSQL([IN_CAPITALS, *FILL], [AS_WRITTEN, WRITE_AGAIN]),
        migrations.AddIndex(
            model_name="keysearch",
            index=GinIndex(fields=["text"], name="keysearch_text", opclasses=["gin_trgm_ops"]),
        ),
        migrations.AddIndex(
            model_name="keysearch",
            index=models.Index(
                fields=["beginning"], include=("key",), name="keysearch_begins", opclasses=["text_pattern_ops"]
            ),
        ),
        migrations.RunSQL(ANALYZE, migrations.RunSQL.noop),
        migrations.RemoveIndex(model_name="key", name="key_can_be_overdue"),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(("state__in", ("active", "suspended", "compromised"))),
                fields=["rotate_by", "id"],
                include=("owner", "service", "accepted_until"),
                name="key_can_be_overdue",
            ),
        ),
    ]
