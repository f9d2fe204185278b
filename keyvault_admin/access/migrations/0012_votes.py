"""What people are given by votes, the worker carries out, and nobody else: roles, coming back, losing second factors.

Grants cannot tell a membership that was voted on from another one, so triggers look for the request that is being
carried out (rotation/0007). What one person may do on the machine, the first roles and a lost quorum, they look for too.
"""

from django.db import migrations

from keyvault_admin.access.role_migration import carry_matrix

# The worker sees which factors there are, never a seed, a key or the digest of a code; it takes them out of use only.
GRANTS = r"""
GRANT INSERT (user_id, group_id) ON public.access_user_groups TO keyvault_worker;
GRANT UPDATE (ends_on) ON public.access_user TO keyvault_worker;
GRANT SELECT (id, user_id, name, confirmed, removed_at), UPDATE (confirmed, removed_at, sealed_seed)
    ON public.access_totpdevice TO keyvault_worker;
GRANT SELECT (id, user_id, name, confirmed, removed_at), UPDATE (confirmed, removed_at)
    ON public.access_passkey TO keyvault_worker;
GRANT SELECT (id, user_id, name, confirmed), UPDATE (confirmed) ON public.access_recoverysheet TO keyvault_worker;
GRANT SELECT (id, sheet_id, used_at, voided_at), UPDATE (voided_at) ON public.access_recoverycode TO keyvault_worker;
GRANT SELECT (id, user_id, name, issuer, confirmed, removed_at), UPDATE (confirmed, removed_at)
    ON public.access_singlesignonlink TO keyvault_worker;
GRANT SELECT (id, user_id, used_at, voided_at), UPDATE (voided_at) ON public.access_enrolmentlink TO keyvault_worker;
GRANT SELECT, INSERT ON public.access_bootstrapclosing TO keyvault_worker;
"""

STANDING = r"""
-- Too few people are left who can vote, though there once were enough. Only then one person alone gives a role.
CREATE FUNCTION public.access_quorum_is_lost() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM public.access_bootstrapclosing)
       AND ((SELECT count(*) FROM public.rotation_voters('Security')) < 2
         OR (SELECT count(*) FROM public.rotation_voters('DevOps')) < 2
         OR (SELECT count(*) FROM (SELECT person FROM public.rotation_voters('Security')
                                   UNION SELECT person FROM public.rotation_voters('DevOps')) voters) < 4)
$$;

CREATE FUNCTION public.access_is_bootstrapping() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT session_user = 'keyvault_command' AND NOT EXISTS (SELECT FROM public.access_bootstrapclosing)
$$;

-- The owner of the tables can do anything; whoever else logs in is asked.
CREATE FUNCTION public.access_is_owner() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT session_user NOT IN ('keyvault_web', 'keyvault_worker', 'keyvault_beat', 'keyvault_signer', 'keyvault_command')
$$;

CREATE OR REPLACE FUNCTION public.audit_erase_permit(person text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT audit_erase_permit.person NOT LIKE 'user:%'
        OR public.rotation_executing('person.erase', audit_erase_permit.person) IS NOT NULL
$$;
"""

GUARDS = r"""
-- A role is given by a request about this person and this role; on the machine while there is no quorum yet, and where
-- it was lost, under a review that stands on everybody's first page.
CREATE FUNCTION public.access_membership_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted text := (SELECT g.name FROM public.auth_group g WHERE g.id = NEW.group_id);
BEGIN
    IF public.access_is_owner() OR TG_OP = 'INSERT' AND (
        public.access_is_bootstrapping()
        OR session_user = 'keyvault_worker'
           AND public.rotation_executing('role.grant', 'user:' || NEW.user_id) ->> 'role' = wanted
        OR session_user = 'keyvault_command' AND wanted IN ('Security', 'DevOps') AND public.access_quorum_is_lost()
           AND EXISTS (SELECT FROM public.access_quorumreview q WHERE q.person_id = NEW.user_id AND q.role = wanted
                          AND q.acknowledged_at IS NULL))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a role is given by votes' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER access_membership_guard BEFORE INSERT OR UPDATE ON public.access_user_groups
    FOR EACH ROW EXECUTE FUNCTION public.access_membership_guard();

-- Somebody comes back who was deactivated or whose last day is over: by a request that names the new last day. The
-- worker sets a last day by a request alone.
CREATE FUNCTION public.access_return_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    returns boolean := NEW.is_active AND coalesce(NEW.ends_on >= today, true)
        AND (NOT OLD.is_active OR coalesce(OLD.ends_on < today, false));
    said jsonb;
BEGIN
    IF public.access_is_owner() OR public.access_is_bootstrapping()
        OR NOT returns AND (session_user <> 'keyvault_worker' OR NEW.ends_on IS NOT DISTINCT FROM OLD.ends_on) THEN
        RETURN NEW;
    END IF;
    said := public.rotation_executing('person.reactivate', 'user:' || NEW.id);
    IF said IS NULL AND NOT returns THEN
        said := public.rotation_executing('role.grant', 'user:' || NEW.id);
    END IF;
    IF session_user = 'keyvault_worker' AND said IS NOT NULL
        AND (said ->> 'ends_on')::date IS NOT DISTINCT FROM NEW.ends_on THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a person is re-activated by votes' USING ERRCODE = 'insufficient_privilege';
END
$$;
DROP TRIGGER access_user_stays_out ON public.access_user;
DROP FUNCTION public.access_user_stays_out();
CREATE TRIGGER access_return_guard BEFORE UPDATE OF is_active, ends_on ON public.access_user
    FOR EACH ROW EXECUTE FUNCTION public.access_return_guard();

-- Whoever serves a person removes their factors for them (web). Others need a request about this person; on the machine
-- it may also be done where votes are not to be had.
CREATE FUNCTION public.access_may_remove(person bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE session_user
        WHEN 'keyvault_worker' THEN public.rotation_executing('factors.reset', 'user:' || person) IS NOT NULL
        WHEN 'keyvault_command' THEN public.access_is_bootstrapping() OR public.access_quorum_is_lost()
            OR public.rotation_executing('person.erase', 'user:' || person) IS NOT NULL
        ELSE true END
$$;

CREATE FUNCTION public.access_factor_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user = 'keyvault_worker' THEN
        IF NEW.confirmed THEN
            RAISE EXCEPTION 'the worker takes factors out of use, and no more' USING ERRCODE = 'insufficient_privilege';
        END IF;
        IF TG_TABLE_NAME = 'access_totpdevice' THEN
            IF octet_length(NEW.sealed_seed) > 0 THEN
                RAISE EXCEPTION 'the worker knows no seeds' USING ERRCODE = 'insufficient_privilege';
            END IF;
        END IF;
    ELSIF NEW.confirmed OR NOT OLD.confirmed THEN
        RETURN NEW;
    END IF;
    IF NOT public.access_may_remove(NEW.user_id) THEN
        RAISE EXCEPTION 'second factors are reset by votes' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER access_factor_guard BEFORE UPDATE ON public.access_totpdevice
    FOR EACH ROW EXECUTE FUNCTION public.access_factor_guard();
CREATE TRIGGER access_factor_guard BEFORE UPDATE ON public.access_passkey
    FOR EACH ROW EXECUTE FUNCTION public.access_factor_guard();
CREATE TRIGGER access_factor_guard BEFORE UPDATE ON public.access_recoverysheet
    FOR EACH ROW EXECUTE FUNCTION public.access_factor_guard();
CREATE TRIGGER access_factor_guard BEFORE UPDATE ON public.access_singlesignonlink
    FOR EACH ROW EXECUTE FUNCTION public.access_factor_guard();

CREATE FUNCTION public.access_code_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user = 'keyvault_worker'
        AND NOT public.access_may_remove((SELECT s.user_id FROM public.access_recoverysheet s WHERE s.id = NEW.sheet_id))
    THEN
        RAISE EXCEPTION 'recovery codes are voided by votes' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER access_code_guard BEFORE UPDATE ON public.access_recoverycode
    FOR EACH ROW EXECUTE FUNCTION public.access_code_guard();

REVOKE ALL ON FUNCTION public.access_quorum_is_lost(), public.access_is_bootstrapping(), public.access_is_owner(),
    public.access_membership_guard(), public.access_return_guard(), public.access_may_remove(bigint),
    public.access_factor_guard(), public.access_code_guard() FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0011_proof"),
        ("audit", "0007_retention"),
        ("inventory", "0019_no_held_changes"),
        ("rotation", "0007_approval_rules"),
    ]

    operations = [
        migrations.RunSQL([GRANTS, STANDING, GUARDS], migrations.RunSQL.noop),
        migrations.RunPython(carry_matrix, migrations.RunPython.noop),
    ]
