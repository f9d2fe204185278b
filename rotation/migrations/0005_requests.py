"""Requests for guarded operations and the votes on them. What two people must agree on, the database sees to."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Who may vote, and whether a vote still stands: asked by the triggers, and by the application for its words.
STANDING = r"""
CREATE FUNCTION public.rotation_voters(wanted text) RETURNS TABLE (person bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.id FROM public.access_user u
      JOIN public.access_user_groups m ON m.user_id = u.id
      JOIN public.auth_group g ON g.id = m.group_id AND g.name = wanted
     WHERE u.is_active AND (u.ends_on IS NULL OR u.ends_on >= (now() AT TIME ZONE 'UTC')::date)
       AND (EXISTS (SELECT FROM public.access_totpdevice d WHERE d.user_id = u.id AND d.confirmed)
            OR EXISTS (SELECT FROM public.access_passkey p WHERE p.user_id = u.id AND p.confirmed))
$$;

CREATE FUNCTION public.rotation_voter_flaw(voter bigint, wanted text, device text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN u.id IS NULL OR NOT u.is_active THEN 'the account is deactivated'
        WHEN u.ends_on < (now() AT TIME ZONE 'UTC')::date THEN 'the account has ended'
        WHEN NOT EXISTS (SELECT FROM public.access_user_groups m JOIN public.auth_group g ON g.id = m.group_id
                          WHERE m.user_id = u.id AND g.name = wanted) THEN 'the role ' || wanted || ' is not theirs'
        WHEN NOT EXISTS (SELECT FROM public.access_totpdevice d
                          WHERE d.user_id = u.id AND d.confirmed AND 'totp:' || d.id = device)
         AND NOT EXISTS (SELECT FROM public.access_passkey p
                          WHERE p.user_id = u.id AND p.confirmed AND 'passkey:' || p.id = device)
        THEN 'the second factor of the vote is not theirs'
        ELSE '' END
      FROM (SELECT voter AS id) asked LEFT JOIN public.access_user u ON u.id = asked.id
$$;

CREATE FUNCTION public.rotation_credentials_mark(voter bigint) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT substring(sha256(convert_to(u.password, 'UTF8')) FOR 8) FROM public.access_user u WHERE u.id = voter
$$;

CREATE FUNCTION public.rotation_vote_flaw(vote bigint) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN public.rotation_voter_flaw(v.person_id, v.role, v.verified_by) <> ''
        THEN public.rotation_voter_flaw(v.person_id, v.role, v.verified_by)
        WHEN public.rotation_credentials_mark(v.person_id) IS DISTINCT FROM v.credentials_mark
        THEN 'the password was changed after the vote'
        ELSE '' END
      FROM public.rotation_vote v WHERE v.id = vote
$$;

CREATE FUNCTION public.rotation_lacks_votes(asked bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT r.is_break_glass AND EXISTS (
            SELECT FROM jsonb_array_elements(convert_from(r.payload, 'UTF8')::jsonb -> 'steps') s
             WHERE (SELECT count(*) FROM public.rotation_vote v
                     WHERE v.request_id = r.id AND v.voided_at IS NULL AND v.is_approval AND v.digest = r.digest
                       AND v.role = s ->> 'role') < (s ->> 'count')::int)
        OR EXISTS (SELECT FROM public.rotation_vote v
                    WHERE v.request_id = r.id AND v.voided_at IS NULL AND NOT v.is_approval)
      FROM public.rotation_request r WHERE r.id = asked
$$;
REVOKE ALL ON FUNCTION public.rotation_voters(text), public.rotation_voter_flaw(bigint, text, text),
    public.rotation_credentials_mark(bigint), public.rotation_vote_flaw(bigint), public.rotation_lacks_votes(bigint)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.rotation_voters(text), public.rotation_vote_flaw(bigint) TO keyvault_app;
"""

# - A vote is cast on what is open, by an active person of the role, with a second factor of theirs, on the bytes that
#   were asked; never by who asked, nor by who is excluded; one for each person, and no more of a role than the step has.
# - A request is approved once its votes are there, and carried out by worker or command while they still stand.
GUARDS = r"""
CREATE FUNCTION public.rotation_vote_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    asked public.rotation_request;
    said jsonb;
    places int;
    flaw text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.voided_at IS NOT NULL OR NEW.voided_at IS NULL THEN
            RAISE EXCEPTION 'a vote becomes void once' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    SELECT * INTO asked FROM public.rotation_request r WHERE r.id = NEW.request_id FOR UPDATE;
    IF asked.state IS DISTINCT FROM 'open' OR NEW.voted_at >= asked.expires_at OR NEW.voided_at IS NOT NULL THEN
        RAISE EXCEPTION 'the request takes no votes' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.digest <> asked.digest THEN
        RAISE EXCEPTION 'the vote is on something else' USING ERRCODE = 'check_violation';
    END IF;
    said := convert_from(asked.payload, 'UTF8')::jsonb;
    IF 'user:' || NEW.person_id = asked.requested_by_ref OR said -> 'excluded' ? ('user:' || NEW.person_id) THEN
        RAISE EXCEPTION 'nobody votes on what they asked for' USING ERRCODE = 'check_violation';
    END IF;
    SELECT sum((s ->> 'count')::int) INTO places
      FROM jsonb_array_elements(said -> 'steps') s WHERE s ->> 'role' = NEW.role;
    IF places IS NULL OR NEW.is_approval AND places <= (
        SELECT count(*) FROM public.rotation_vote v
         WHERE v.request_id = NEW.request_id AND v.voided_at IS NULL AND v.is_approval AND v.role = NEW.role
    ) THEN
        RAISE EXCEPTION 'no vote of % is missing', NEW.role USING ERRCODE = 'check_violation';
    END IF;
    flaw := public.rotation_voter_flaw(NEW.person_id, NEW.role, NEW.verified_by);
    IF flaw <> '' THEN
        RAISE EXCEPTION '%', flaw USING ERRCODE = 'check_violation';
    END IF;
    NEW.credentials_mark := public.rotation_credentials_mark(NEW.person_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_vote_guard BEFORE INSERT OR UPDATE ON public.rotation_vote
    FOR EACH ROW EXECUTE FUNCTION public.rotation_vote_guard();

CREATE FUNCTION public.rotation_request_is_new() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb := convert_from(NEW.payload, 'UTF8')::jsonb;
BEGIN
    IF NEW.state <> 'open' OR said ->> 'operation' IS DISTINCT FROM NEW.operation
        OR said ->> 'requested_by' IS DISTINCT FROM NEW.requested_by_ref
        OR said -> 'targets' -> 0 ->> 'ref' IS DISTINCT FROM NEW.subject_ref
        OR (said ->> 'expires_at')::timestamptz IS DISTINCT FROM NEW.expires_at
        OR (said ->> 'is_break_glass')::boolean IS DISTINCT FROM NEW.is_break_glass
        OR 'user:' || NEW.requested_by_id IS DISTINCT FROM
           (CASE WHEN NEW.requested_by_ref LIKE 'user:%' THEN NEW.requested_by_ref END)
    THEN
        RAISE EXCEPTION 'the request says something else than its payload' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.is_break_glass AND (
            jsonb_array_length(said -> 'steps') > 0 OR NEW.requested_by_id IS NULL
            OR NEW.operation NOT IN ('key.revoke', 'key.rotation'))
        OR NOT NEW.is_break_glass AND coalesce(jsonb_array_length(said -> 'steps'), 0) = 0
    THEN
        RAISE EXCEPTION 'the request needs votes' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_request_is_new BEFORE INSERT ON public.rotation_request
    FOR EACH ROW EXECUTE FUNCTION public.rotation_request_is_new();

CREATE FUNCTION public.rotation_request_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    flaw text;
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('open', 'approved'), ('open', 'rejected'), ('open', 'withdrawn'), ('open', 'expired'), ('open', 'void'),
        ('approved', 'executing'), ('approved', 'open'), ('approved', 'withdrawn'), ('approved', 'expired'),
        ('approved', 'void'), ('executing', 'executed'), ('executing', 'failed'), ('executing', 'void'),
        ('executing', 'approved'), ('executing', 'open'), ('failed', 'approved'), ('failed', 'withdrawn')
    ) THEN
        RAISE EXCEPTION 'a request does not go from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state IN ('approved', 'executing', 'executed') AND public.rotation_lacks_votes(NEW.id) THEN
        RAISE EXCEPTION 'votes are missing' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state IN ('executing', 'executed') THEN
        IF session_user NOT IN ('keyvault_worker', 'keyvault_command', 'keyvault_migrator') THEN
            RAISE EXCEPTION 'worker and commands carry requests out' USING ERRCODE = 'insufficient_privilege';
        END IF;
        SELECT public.rotation_vote_flaw(v.id) INTO flaw FROM public.rotation_vote v
         WHERE v.request_id = NEW.id AND v.voided_at IS NULL AND public.rotation_vote_flaw(v.id) <> '' LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'a vote does not stand: %', flaw USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_request_guard BEFORE UPDATE OF state ON public.rotation_request
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION public.rotation_request_guard();

REVOKE ALL ON FUNCTION public.rotation_vote_guard(), public.rotation_request_is_new(), public.rotation_request_guard()
    FROM PUBLIC;

GRANT SELECT ON public.rotation_request, public.rotation_requesttarget, public.rotation_vote TO keyvault_app;
GRANT INSERT ON public.rotation_request, public.rotation_requesttarget TO keyvault_web, keyvault_worker, keyvault_command;
GRANT UPDATE (state, approved_at, closed_at, closed_because, reminded_at, attempts, next_attempt_at, leased_until)
    ON public.rotation_request TO keyvault_web, keyvault_worker, keyvault_command;
GRANT INSERT ON public.rotation_vote TO keyvault_web;
GRANT UPDATE (voided_at, voided_because) ON public.rotation_vote TO keyvault_worker, keyvault_command;
"""

# Whose votes are missing, and who may not vote, as columns of their own: an inbox asks for them row by row.
WAITING = r"""
CREATE FUNCTION public.rotation_waits_for(asked bigint, said jsonb) RETURNS varchar[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT s ->> 'role'), '{}')
      FROM jsonb_array_elements(said -> 'steps') s
     WHERE (SELECT count(*) FROM public.rotation_vote v
             WHERE v.request_id = asked AND v.voided_at IS NULL AND v.is_approval
               AND v.role = s ->> 'role') < (s ->> 'count')::int
$$;

CREATE FUNCTION public.rotation_request_waits() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb := convert_from(NEW.payload, 'UTF8')::jsonb;
BEGIN
    NEW.waits_for := CASE WHEN NEW.state = 'open' THEN public.rotation_waits_for(NEW.id, said) ELSE '{}' END;
    NEW.barred := array_append(
        ARRAY(SELECT jsonb_array_elements_text(said -> 'excluded')), NEW.requested_by_ref::text);
    RETURN NEW;
END
$$;
CREATE TRIGGER rotation_request_waits BEFORE INSERT OR UPDATE OF state, waits_for, barred ON public.rotation_request
    FOR EACH ROW EXECUTE FUNCTION public.rotation_request_waits();

CREATE FUNCTION public.rotation_vote_waits() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.rotation_request SET waits_for = '{}' WHERE id = NEW.request_id AND state = 'open';
    RETURN NULL;
END
$$;
CREATE TRIGGER rotation_vote_waits AFTER INSERT OR UPDATE ON public.rotation_vote
    FOR EACH ROW EXECUTE FUNCTION public.rotation_vote_waits();
REVOKE ALL ON FUNCTION public.rotation_waits_for(bigint, jsonb), public.rotation_request_waits(),
    public.rotation_vote_waits() FROM PUBLIC;
"""

# What an event may change about a key by votes: it names the request that is being carried out, and keys of that alone:
# those of the bytes that were voted on, since the rows of rotation_requesttarget are for finding, and pages insert them.
PERMIT = r"""
CREATE OR REPLACE FUNCTION public.inventory_permit(event jsonb) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT session_user = 'keyvault_worker' AND EXISTS (
        SELECT FROM public.rotation_request r
         WHERE r.id = substring(event -> 'facts' ->> 'request' FROM '^request:([0-9]{1,18})$')::bigint
           AND r.state = 'executing'
           AND (r.operation, event ->> 'action') IN (
                ('key.revoke', 'key.compromised'), ('key.revoke', 'key.deactivated'),
                ('key.destroy', 'key.destroyed'), ('key.reactivate', 'key.reactivated'), ('key.rotation', 'key.rotated'),
                ('key.dates', 'key.dates_changed'))
           AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(event -> 'subjects') s
                 WHERE NOT EXISTS (
                    SELECT FROM jsonb_array_elements(convert_from(r.payload, 'UTF8')::jsonb -> 'targets') t
                     WHERE t ->> 'ref' = s ->> 'ref')))
$$;
"""
# What commands on the machine carry out, they report themselves; the connection of the pages still cannot.
REPORTING = r"""
CREATE OR REPLACE FUNCTION public.audit_append(id uuid, body bytea, identity bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    said jsonb;
BEGIN
    IF octet_length(audit_append.body) > 1048576 OR octet_length(audit_append.identity) > 16384 THEN
        RAISE EXCEPTION 'the event is too large' USING ERRCODE = '22023';
    END IF;
    said := convert_from(audit_append.body, 'UTF8')::jsonb;
    IF NOT public.audit_is_event(audit_append.id, said)
        OR (said #>> '{actor,identity}' = '') <> (audit_append.identity IS NULL) THEN
        RAISE EXCEPTION 'the body is not an event of version 1' USING ERRCODE = '22023';
    END IF;
    IF said ->> 'action' LIKE '%.executed'
        AND session_user NOT IN (LOGINS) THEN
        RAISE EXCEPTION 'only worker and commands report an execution' USING ERRCODE = '42501';
    END IF;
    INSERT INTO public.audit_pending VALUES (audit_append.id, audit_append.body, audit_append.identity);
END
$$;
"""
UNDO = """
CREATE OR REPLACE FUNCTION public.inventory_permit(event jsonb) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT false $$;
DROP FUNCTION public.rotation_vote_waits() CASCADE;
DROP FUNCTION public.rotation_request_waits() CASCADE;
DROP FUNCTION public.rotation_waits_for(bigint, jsonb);
DROP FUNCTION public.rotation_vote_guard() CASCADE;
DROP FUNCTION public.rotation_request_is_new() CASCADE;
DROP FUNCTION public.rotation_request_guard() CASCADE;
DROP FUNCTION public.rotation_lacks_votes(bigint);
DROP FUNCTION public.rotation_vote_flaw(bigint);
DROP FUNCTION public.rotation_credentials_mark(bigint);
DROP FUNCTION public.rotation_voter_flaw(bigint, text, text);
DROP FUNCTION public.rotation_voters(text);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0011_proof"),
        ("inventory", "0017_permits"),
        ("rotation", "0004_notice_indexes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Request",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("operation", models.CharField(max_length=50)),
                ("payload", models.BinaryField()),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("title", models.CharField(max_length=300)),
                ("subject_ref", models.CharField(max_length=100)),
                ("reason", models.CharField(max_length=2000)),
                ("requested_by_ref", models.CharField(max_length=100)),
                ("requested_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("is_break_glass", models.BooleanField(default=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "waiting for votes"),
                            ("approved", "approved"),
                            ("executing", "being carried out"),
                            ("executed", "done"),
                            ("failed", "failed"),
                            ("rejected", "rejected"),
                            ("withdrawn", "withdrawn"),
                            ("expired", "expired"),
                            ("void", "void"),
                        ],
                        default="open",
                        max_length=10,
                    ),
                ),
                ("approved_at", models.DateTimeField(null=True)),
                ("closed_at", models.DateTimeField(null=True)),
                ("closed_because", models.CharField(blank=True, max_length=500)),
                ("reminded_at", models.DateTimeField(null=True)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("leased_until", models.DateTimeField(null=True)),
                (
                    "waits_for",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=20), default=list, editable=False, size=None
                    ),
                ),
                (
                    "barred",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100), default=list, editable=False, size=None
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="requests",
                        to="inventory.key",
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-requested_at", "-pk"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="RequestTarget",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("ref", models.CharField(max_length=100)),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="targets", to="rotation.request"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Vote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("role", models.CharField(max_length=20)),
                ("is_approval", models.BooleanField()),
                ("comment", models.CharField(blank=True, max_length=500)),
                ("digest", models.BinaryField(max_length=32)),
                ("verified_by", models.CharField(max_length=100)),
                ("credentials_mark", models.BinaryField(default=b"", max_length=8)),
                ("voted_at", models.DateTimeField()),
                ("voided_at", models.DateTimeField(null=True)),
                ("voided_because", models.CharField(blank=True, max_length=200)),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="votes", to="rotation.request"
                    ),
                ),
            ],
            options={
                "ordering": ["voted_at", "pk"],
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["-requested_at", "-id"], name="request_newest"),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=models.Q(("state", "open")), fields=["expires_at", "id"], name="request_open_by_expiry"
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=models.Q(("state__in", ["approved", "executing"])),
                fields=["next_attempt_at"],
                name="request_to_execute",
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["requested_by", "-requested_at", "-id"], name="request_by_requester"),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["subject_ref", "-id"], name="request_by_subject"),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("digest", models.Func(models.F("payload"), function="sha256", output_field=models.BinaryField()))
                ),
                name="request_digest_is_the_payloads",
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("open", "approved", "executing"))),
                fields=("operation", "subject_ref"),
                name="request_one_live_for_each",
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("closed_at__isnull", True), ("state__in", ("open", "approved", "executing"))),
                    models.Q(
                        ("closed_at__isnull", False),
                        ("state__in", ("executed", "failed", "rejected", "withdrawn", "expired", "void")),
                    ),
                    _connector="OR",
                ),
                name="request_closed_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["approved", "executing", "executed"]), _negated=True),
                    ("approved_at__isnull", False),
                    _connector="OR",
                ),
                name="request_approved_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "executing"), _negated=True), ("leased_until__isnull", False), _connector="OR"
                ),
                name="request_executing_has_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="request",
            constraint=models.CheckConstraint(
                condition=models.Q(("expires_at__gt", models.F("requested_at"))), name="request_expires_later"
            ),
        ),
        migrations.AddConstraint(
            model_name="requesttarget",
            constraint=models.UniqueConstraint(fields=("ref", "request"), name="requesttarget_once"),
        ),
        migrations.AddConstraint(
            model_name="vote",
            constraint=models.UniqueConstraint(
                condition=models.Q(("voided_at__isnull", True)),
                fields=("request", "person"),
                name="vote_one_for_each_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="vote",
            constraint=models.CheckConstraint(
                condition=models.Q(("verified_by", ""), _negated=True), name="vote_second_factor"
            ),
        ),
        migrations.AddConstraint(
            model_name="vote",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_approval", True), models.Q(("comment", ""), _negated=True), _connector="OR"),
                name="vote_rejection_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="vote",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("voided_at__isnull", True), ("voided_because", "")),
                    models.Q(("voided_at__isnull", False), models.Q(("voided_because", ""), _negated=True)),
                    _connector="OR",
                ),
                name="vote_void_says_why",
            ),
        ),
        migrations.RunSQL([STANDING, GUARDS, WAITING, PERMIT], UNDO),
        migrations.RunSQL(
            REPORTING.replace("LOGINS", "'keyvault_worker', 'keyvault_command', 'keyvault_migrator'"),
            REPORTING.replace("LOGINS", "'keyvault_worker'"),
        ),
    ]
