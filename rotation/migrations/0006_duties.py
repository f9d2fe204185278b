"""What one person did alone is looked at by others. The database keeps them apart."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# What they keep, whoever writes:
# - a duty is opened with at most a day to look; one of a break-glass by who asks, who has the role and showed a factor;
# - a signature is somebody else's, of an enrolled person of the role, and no more of them than the duty needs;
# - a duty closes with its signatures: two for a break-glass (of two people and two roles, by unique constraints), else
#   one; a reminder that a key is still suspended also when it is so no more. Closed, it never changes;
# - what breaks the glass lives for an hour, leaves its duty in the same transaction, and is not begun after the hour.
GUARDS = r"""
CREATE FUNCTION public.rotation_duty_is_new() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.state <> 'open' OR NEW.flagged_overdue_at IS NOT NULL OR NEW.due_at > NEW.opened_at + interval '1 day'
        OR 'user:' || NEW.done_by_id IS DISTINCT FROM (CASE WHEN NEW.done_by_ref LIKE 'user:%' THEN NEW.done_by_ref END)
    THEN
        RAISE EXCEPTION 'a duty begins open, with a day to look' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.kind = 'break_glass' AND NOT EXISTS (
        SELECT FROM public.rotation_request r
         WHERE r.id = NEW.request_id AND r.is_break_glass AND r.requested_by_id = NEW.done_by_id
    ) THEN
        RAISE EXCEPTION 'the duty is about another request' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.kind = 'break_glass' AND NOT EXISTS (
        SELECT FROM unnest(ARRAY['Security', 'DevOps']) role
         WHERE public.rotation_voter_flaw(NEW.done_by_id, role, NEW.verified_by) = ''
    ) THEN
        RAISE EXCEPTION 'nobody breaks the glass without role and second factor' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_duty_is_new BEFORE INSERT ON public.rotation_duty
    FOR EACH ROW EXECUTE FUNCTION public.rotation_duty_is_new();

CREATE FUNCTION public.rotation_duty_needs(kind text) RETURNS int
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE kind WHEN 'break_glass' THEN 2 ELSE 1 END
$$;

CREATE FUNCTION public.rotation_duty_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.state <> 'open' THEN
        RAISE EXCEPTION 'a duty that is closed does not change' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> 'open'
        AND (SELECT count(*) FROM public.rotation_dutysignature s WHERE s.duty_id = NEW.id)
            < public.rotation_duty_needs(NEW.kind)
        AND NOT (NEW.kind = 'still_suspended' AND EXISTS (
            SELECT FROM public.inventory_key k WHERE k.id = NEW.key_id AND k.state <> 'suspended'))
    THEN
        RAISE EXCEPTION 'signatures are missing' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_duty_guard BEFORE UPDATE ON public.rotation_duty
    FOR EACH ROW EXECUTE FUNCTION public.rotation_duty_guard();

CREATE FUNCTION public.rotation_dutysignature_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    duty public.rotation_duty;
BEGIN
    SELECT * INTO duty FROM public.rotation_duty d WHERE d.id = NEW.duty_id FOR UPDATE;
    IF duty.state IS DISTINCT FROM 'open' OR public.rotation_duty_needs(duty.kind) <= (
        SELECT count(*) FROM public.rotation_dutysignature s WHERE s.duty_id = NEW.duty_id
    ) THEN
        RAISE EXCEPTION 'the duty takes no signatures' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.person_id = duty.done_by_id THEN
        RAISE EXCEPTION 'nobody signs for what they did' USING ERRCODE = 'check_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM public.rotation_voters(NEW.role) v WHERE v.person = NEW.person_id) THEN
        RAISE EXCEPTION 'the role % is not theirs', NEW.role USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_dutysignature_guard BEFORE INSERT ON public.rotation_dutysignature
    FOR EACH ROW EXECUTE FUNCTION public.rotation_dutysignature_guard();

CREATE FUNCTION public.rotation_glass_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.expires_at > NEW.requested_at + interval '1 hour'
        OR NEW.expires_at > now() + interval '65 minutes' -- a clock of ours may be five minutes ahead
    THEN
        RAISE EXCEPTION 'what breaks the glass is over after an hour' USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.state = 'executing' AND NEW.expires_at <= now() THEN
        RAISE EXCEPTION 'the hour is over' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_glass_guard BEFORE INSERT OR UPDATE OF state, is_break_glass ON public.rotation_request
    FOR EACH ROW WHEN (NEW.is_break_glass) EXECUTE FUNCTION public.rotation_glass_guard();

CREATE FUNCTION public.rotation_glass_leaves_duty() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.rotation_duty d WHERE d.request_id = NEW.id AND d.kind = 'break_glass') THEN
        RAISE EXCEPTION 'whoever breaks the glass leaves a duty' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER rotation_glass_leaves_duty
    AFTER INSERT OR UPDATE OF state, is_break_glass ON public.rotation_request
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.is_break_glass) EXECUTE FUNCTION public.rotation_glass_leaves_duty();

REVOKE ALL ON FUNCTION public.rotation_duty_is_new(), public.rotation_duty_needs(text), public.rotation_duty_guard(),
    public.rotation_dutysignature_guard(), public.rotation_glass_guard(), public.rotation_glass_leaves_duty() FROM PUBLIC;

-- People act and sign in the web, the beat reminds and closes what is over by itself; nobody deletes.
GRANT SELECT ON public.rotation_duty, public.rotation_dutysignature TO keyvault_app;
GRANT INSERT ON public.rotation_duty TO keyvault_web, keyvault_worker, keyvault_command;
GRANT UPDATE (state, closed_at) ON public.rotation_duty TO keyvault_web, keyvault_worker, keyvault_command;
GRANT UPDATE (flagged_overdue_at, next_reminder_at) ON public.rotation_duty TO keyvault_worker, keyvault_command;
GRANT INSERT ON public.rotation_dutysignature TO keyvault_web;
"""
UNGUARDED = """
DROP FUNCTION public.rotation_glass_leaves_duty() CASCADE;
DROP FUNCTION public.rotation_glass_guard() CASCADE;
DROP FUNCTION public.rotation_dutysignature_guard() CASCADE;
DROP FUNCTION public.rotation_duty_guard() CASCADE;
DROP FUNCTION public.rotation_duty_is_new() CASCADE;
DROP FUNCTION public.rotation_duty_needs(text);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("rotation", "0005_requests"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Duty",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("suspension", "suspension"),
                            ("report", "reported compromise"),
                            ("break_glass", "break-glass"),
                            ("still_suspended", "still suspended"),
                        ],
                        max_length=20,
                    ),
                ),
                ("title", models.CharField(max_length=300)),
                ("reason", models.CharField(max_length=2000)),
                ("done_by_ref", models.CharField(max_length=100)),
                ("done_at", models.DateTimeField()),
                ("verified_by", models.CharField(blank=True, max_length=100)),
                ("opened_at", models.DateTimeField()),
                ("due_at", models.DateTimeField(verbose_name="due")),
                (
                    "state",
                    models.CharField(choices=[("open", "open"), ("closed", "closed")], default="open", max_length=10),
                ),
                ("closed_at", models.DateTimeField(null=True)),
                ("flagged_overdue_at", models.DateTimeField(null=True)),
                ("next_reminder_at", models.DateTimeField()),
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
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="duties", to="inventory.key"
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="duties",
                        to="rotation.request",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "duties",
                "ordering": ["-done_at", "-pk"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="DutySignature",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("role", models.CharField(max_length=20)),
                (
                    "verdict",
                    models.CharField(
                        choices=[("", "not judged"), ("in_order", "in order"), ("finding", "finding")], max_length=10
                    ),
                ),
                ("words", models.CharField(max_length=500)),
                ("verified_by", models.CharField(max_length=100)),
                ("signed_at", models.DateTimeField()),
                (
                    "duty",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="signatures", to="rotation.duty"
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "ordering": ["signed_at", "pk"],
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="duty",
            index=models.Index(fields=["-done_at", "-id"], name="duty_newest"),
        ),
        migrations.AddIndex(
            model_name="duty",
            index=models.Index(fields=["due_at", "id"], name="duty_by_due"),
        ),
        migrations.AddIndex(
            model_name="duty",
            index=models.Index(
                condition=models.Q(("state", "open")), fields=["next_reminder_at"], name="duty_to_remind"
            ),
        ),
        migrations.AddConstraint(
            model_name="duty",
            constraint=models.CheckConstraint(
                condition=models.Q(("done_at__lte", models.F("opened_at")), ("opened_at__lt", models.F("due_at"))),
                name="duty_times_in_order",
            ),
        ),
        migrations.AddConstraint(
            model_name="duty",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at__isnull", True), ("state", "open")),
                    models.Q(("closed_at__isnull", False), ("state", "closed")),
                    _connector="OR",
                ),
                name="duty_closed_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="duty",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason", ""), _negated=True), name="duty_reason_is_said"
            ),
        ),
        migrations.AddConstraint(
            model_name="duty",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "break_glass"), _negated=True),
                    models.Q(
                        ("done_by__isnull", False),
                        ("request__isnull", False),
                        models.Q(("verified_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="duty_glass_is_somebodys",
            ),
        ),
        migrations.AddConstraint(
            model_name="duty",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "break_glass"), ("state", "open")),
                fields=("done_by",),
                name="duty_one_open_glass_each",
            ),
        ),
        migrations.AddConstraint(
            model_name="duty",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "break_glass")), fields=("request",), name="duty_one_for_each_glass"
            ),
        ),
        migrations.AddConstraint(
            model_name="duty",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "still_suspended")),
                fields=("key", "done_at"),
                name="duty_one_for_each_suspension",
            ),
        ),
        migrations.AddConstraint(
            model_name="dutysignature",
            constraint=models.UniqueConstraint(fields=("duty", "person"), name="dutysignature_distinct_people"),
        ),
        migrations.AddConstraint(
            model_name="dutysignature",
            constraint=models.UniqueConstraint(fields=("duty", "role"), name="dutysignature_distinct_roles"),
        ),
        migrations.AddConstraint(
            model_name="dutysignature",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["Security", "DevOps"])), name="dutysignature_role_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="dutysignature",
            constraint=models.CheckConstraint(
                condition=models.Q(("verdict__in", ["in_order", "finding"])), name="dutysignature_verdict"
            ),
        ),
        migrations.AddConstraint(
            model_name="dutysignature",
            constraint=models.CheckConstraint(
                condition=models.Q(("words", ""), _negated=True), name="dutysignature_says_what"
            ),
        ),
        migrations.AddConstraint(
            model_name="dutysignature",
            constraint=models.CheckConstraint(
                condition=models.Q(("verified_by", ""), _negated=True), name="dutysignature_second_factor"
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARDED),
    ]
