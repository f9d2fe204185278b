"""Who asked for a transition and who approved it do not judge it, though the worker carries it out."""

import django.contrib.postgres.fields
from django.db import migrations, models

# As in 0003, with the people whose request it was. What was drawn before knows of none: nothing was done by request.
GUARD = r"""
CREATE OR REPLACE FUNCTION public.rotation_review_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.state = 'open' THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' OR OLD.state <> 'open' THEN
        RAISE EXCEPTION 'a signed review does not change' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state = 'signed' AND (
        (SELECT count(*) <> 2 OR count(DISTINCT s.role) <> 2 OR count(DISTINCT s.content_digest) <> 1
           FROM public.rotation_reviewsignature s WHERE s.review_id = NEW.id AND s.voided_at IS NULL)
        OR EXISTS (
            SELECT FROM public.rotation_reviewitem i
             WHERE i.review_id = NEW.id
               AND NOT EXISTS (
                    SELECT FROM public.rotation_reviewsignature s
                     WHERE s.review_id = NEW.id AND s.voided_at IS NULL
                       AND s.person_id IS DISTINCT FROM i.done_by_id AND s.person_id IS DISTINCT FROM i.done_for_id
                       HANDS)
        )
    ) THEN
        RAISE EXCEPTION 'the review lacks a signature' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("rotation", "0008_notice_owner")]

    operations = [
        migrations.AddField(
            model_name="reviewitem",
            name="hands",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(), blank=True, default=list, size=None
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("hands__contains", [models.F("judged_by")]), _negated=True),
                name="reviewitem_not_judged_by_hands",
            ),
        ),
        migrations.RunSQL(GUARD.replace("HANDS", "AND s.person_id <> ALL (i.hands)"), GUARD.replace("HANDS", "")),
    ]
