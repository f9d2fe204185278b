"""Reviews that people sign. The database keeps what was signed as it was signed."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Each trigger takes the row of the review first, so that of a signature and a verdict at the same moment the second one
# sees the first. What they keep, whoever writes:
# - a verdict changes only while the review is open and nobody's signature stands over it;
# - a signature is set only over a sample that is judged, and once it is void it stays so;
# - a review is signed by two people of different roles who signed the same content, and each event has one of them who
#   neither did it nor wished for it; then nothing of it changes any more.
GUARDS = r"""
CREATE FUNCTION public.rotation_reviewitem_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.rotation_review r WHERE r.id = NEW.review_id AND r.state = 'open' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a signed review does not change' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM public.rotation_reviewsignature s WHERE s.review_id = NEW.review_id AND s.voided_at IS NULL) THEN
        RAISE EXCEPTION 'what is signed changes once its signatures are void' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_reviewitem_guard BEFORE INSERT OR UPDATE ON public.rotation_reviewitem
    FOR EACH ROW EXECUTE FUNCTION public.rotation_reviewitem_guard();

CREATE FUNCTION public.rotation_reviewsignature_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.rotation_review r WHERE r.id = NEW.review_id AND r.state = 'open' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a signed review does not change' USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.voided_at IS NOT NULL OR TG_OP = 'INSERT' AND NEW.voided_at IS NOT NULL THEN
        RAISE EXCEPTION 'a signature becomes void once' USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'INSERT' AND EXISTS (
        SELECT FROM public.rotation_reviewitem i WHERE i.review_id = NEW.review_id AND i.verdict = ''
    ) THEN
        RAISE EXCEPTION 'a review is signed once all of it is judged' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_reviewsignature_guard BEFORE INSERT OR UPDATE ON public.rotation_reviewsignature
    FOR EACH ROW EXECUTE FUNCTION public.rotation_reviewsignature_guard();

CREATE FUNCTION public.rotation_review_guard() RETURNS trigger
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
                       AND s.person_id IS DISTINCT FROM i.done_by_id AND s.person_id IS DISTINCT FROM i.done_for_id)
        )
    ) THEN
        RAISE EXCEPTION 'the review lacks a signature' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_review_guard BEFORE INSERT OR UPDATE ON public.rotation_review
    FOR EACH ROW EXECUTE FUNCTION public.rotation_review_guard();

REVOKE ALL ON FUNCTION public.rotation_reviewitem_guard(), public.rotation_reviewsignature_guard(),
    public.rotation_review_guard() FROM PUBLIC;

-- The worker and the commands open and remind, people judge and sign in the web; nobody deletes.
GRANT SELECT ON public.rotation_review, public.rotation_reviewitem, public.rotation_reviewsignature TO keyvault_app;
GRANT INSERT ON public.rotation_review, public.rotation_reviewitem TO keyvault_worker, keyvault_command;
GRANT UPDATE (next_reminder_at, flagged_overdue_at) ON public.rotation_review TO keyvault_worker, keyvault_command;
GRANT UPDATE (state, completed_at) ON public.rotation_review TO keyvault_web;
GRANT UPDATE (verdict, words, follow_up_id, judged_by_id, judged_at, revision) ON public.rotation_reviewitem
    TO keyvault_web;
GRANT INSERT ON public.rotation_reviewsignature TO keyvault_web;
GRANT UPDATE (voided_at, voided_by_id) ON public.rotation_reviewsignature TO keyvault_web;
"""
UNGUARDED = """
DROP TRIGGER rotation_review_guard ON public.rotation_review;
DROP TRIGGER rotation_reviewitem_guard ON public.rotation_reviewitem;
DROP TRIGGER rotation_reviewsignature_guard ON public.rotation_reviewsignature;
DROP FUNCTION public.rotation_review_guard();
DROP FUNCTION public.rotation_reviewitem_guard();
DROP FUNCTION public.rotation_reviewsignature_guard();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0016_own_keys"),
        ("rotation", "0002_grants"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Review",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("transitions", "state transitions")], max_length=20)),
                ("period_from", models.DateTimeField()),
                ("period_to", models.DateTimeField()),
                ("due_at", models.DateTimeField(verbose_name="due")),
                ("after_event", models.BigIntegerField()),
                ("through_event", models.BigIntegerField()),
                ("population", models.PositiveIntegerField()),
                ("seed", models.BinaryField(max_length=32)),
                ("opened_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(choices=[("open", "open"), ("signed", "signed")], default="open", max_length=10),
                ),
                ("completed_at", models.DateTimeField(null=True)),
                ("flagged_overdue_at", models.DateTimeField(null=True)),
                ("next_reminder_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["-period_to", "-pk"],
                "permissions": [("sign_review", "Can judge and sign reviews")],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["due_at", "id"], name="review_by_due"),
                    models.Index(fields=["-period_to", "-id"], name="review_newest"),
                    models.Index(
                        condition=models.Q(("state", "open")), fields=["next_reminder_at"], name="review_to_remind"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "period_to"), name="review_one_for_each_period"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("period_from__lt", models.F("period_to")), ("period_to__lte", models.F("due_at"))
                        ),
                        name="review_times_in_order",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("after_event__gte", 0), ("through_event__gte", models.F("after_event"))),
                        name="review_events_in_order",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("completed_at__isnull", False), ("state", "signed")),
                            models.Q(("completed_at__isnull", True), ("state", "open")),
                            _connector="OR",
                        ),
                        name="review_signed_has_time",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_number", models.BigIntegerField()),
                ("event_digest", models.BinaryField(max_length=32)),
                (
                    "verdict",
                    models.CharField(
                        blank=True,
                        choices=[("", "not judged"), ("in_order", "in order"), ("finding", "finding")],
                        default="",
                        max_length=10,
                    ),
                ),
                ("words", models.CharField(blank=True, max_length=500)),
                ("judged_at", models.DateTimeField(null=True)),
                ("revision", models.PositiveIntegerField(default=0)),
                (
                    "done_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "done_for",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "follow_up",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="inventory.key"
                    ),
                ),
                (
                    "judged_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "review",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="items", to="rotation.review"
                    ),
                ),
            ],
            options={
                "ordering": ["event_number"],
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("review", "event_number"), name="reviewitem_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("judged_at__isnull", True), ("judged_by__isnull", True), ("verdict", "")),
                            models.Q(
                                ("judged_at__isnull", False),
                                ("judged_by__isnull", False),
                                ("verdict__in", ["in_order", "finding"]),
                            ),
                            _connector="OR",
                        ),
                        name="reviewitem_verdict_is_somebodys",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("verdict", "finding"), models.Q(("words", ""), _negated=True)),
                            models.Q(
                                models.Q(("verdict", "finding"), _negated=True),
                                ("follow_up__isnull", True),
                                ("words", ""),
                            ),
                            _connector="OR",
                        ),
                        name="reviewitem_finding_has_words",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("judged_by", models.F("done_by")), _negated=True),
                            models.Q(("judged_by", models.F("done_for")), _negated=True),
                        ),
                        name="reviewitem_not_judged_by_doer",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewSignature",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("role", models.CharField(max_length=20)),
                ("content_digest", models.BinaryField(max_length=32)),
                ("verified_by", models.CharField(max_length=100)),
                ("signed_at", models.DateTimeField()),
                ("voided_at", models.DateTimeField(null=True)),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "review",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="signatures", to="rotation.review"
                    ),
                ),
                (
                    "voided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["signed_at", "pk"],
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("voided_at__isnull", True)),
                        fields=("review", "role"),
                        name="reviewsignature_one_for_each_role",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("voided_at__isnull", True)),
                        fields=("review", "person"),
                        name="reviewsignature_distinct_people",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["Security", "DevOps"])), name="reviewsignature_role_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("verified_by", ""), _negated=True), name="reviewsignature_second_factor"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("voided_at__isnull", True), ("voided_by__isnull", True)),
                            models.Q(("voided_at__isnull", False), ("voided_by__isnull", False)),
                            _connector="OR",
                        ),
                        name="reviewsignature_voided_by_somebody",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNGUARDED),
    ]
