"""Requests of every guarded operation, for test_shown: whoever declares an operation adds a line to SAMPLES.

Each function asks for one after the other; what it asks for is carried out before the next, with nothing changed by it.
"""

from datetime import timedelta

from django.test import override_settings
from django.utils import timezone

from audit import canonical
from audit.actor import Actor
from audit.checkpoints import make_checkpoint
from audit.models import Event, Period, SignedCheckpoint
from inventory import services
from inventory.effects import simulate
from inventory.guarded.deks import rotate_dek
from inventory.guarded.suspending import suspend_key
from inventory.models import DekVersion, Kek, KekVersion, KeyVersion, PolicyClause, ThreatLevel
from inventory.services.deks.making import Drawn, add_wrappings
from inventory.states import State
from keyvault_admin.access.services import deactivate_person
from rotation import approvals
from rotation.models import Request, RewrapSource
from tests.approving import permitted_by
from tests.conftest import _become, make_person
from tests.inventory.world import make_key, make_owner, seal
from tests.people import give_device
from tests.rotation.approval_world import AT_MACHINE, NOTE, ONE_VOTE, TWICE, actor_for, ask
from tests.rotation.inbox_world import THING, asked
from tests.rotation.permits import being_carried_out

WORDS = (
    "blue",
    "Grün «très» 蓝",
    "<b>red</b> & \"quoted\" 'too'",
    "two\nlines",
    "x" * 250,
    "&lt;already&gt; &amp; escaped",
    "{{ 7|add:35 }} {% now 'Y' %}",
    "https://example.org/?a=1&b=2",
    "-0",
    "  spaces   inside  ",
    "\u202eright to left\u2066",
)
MARKUP, FOREIGN, TURNED, TEMPLATE = WORDS[2], WORDS[1], WORDS[10], WORDS[6]


class World:
    """The people who ask, and keys to ask about."""

    def __init__(self, things):
        self.things = things
        self.security, self.devops = make_person("sam", "Security"), make_person("deb", "DevOps")
        self.numbers = iter(range(10_000))

    def key(self, name="crm", **facts):
        return make_key(name=f"{name}/{next(self.numbers)}", **facts)

    def ask(self, code, parameters, *, reason="because of ticket 4411", by=None):
        now = timezone.now()
        actor = actor_for(by or self.devops)
        return approvals.ask(operation=code, parameters=parameters, actor=actor, reason=reason, now=now)

    def how(self, reason="because of ticket 4411"):
        """Return how somebody of Security does what nobody votes on."""
        return {"actor": actor_for(self.security), "reason": reason, "now": timezone.now()}


def in_days(count):
    return f"{timezone.now() + timedelta(days=count):%Y-%m-%d}"


# What stands for no operation of the product


def things(world):
    for number in range(0, len(WORDS), 2):
        one, other = WORDS[number], WORDS[number - 1]
        facts = {"colour": one, "before": other if number % 4 else "", "consumers": other, "days": number}
        yield asked(THING, world.devops, world=world.things, number=number, reason=other, facts=facts)
    yield asked(THING, world.devops, world=world.things, parameters={"numbers": list(range(90, 97))})
    yield asked(THING, "command:bench", world=world.things, number=98, facts={"url": "javascript:alert(1)"})


def notes(code):
    def samples(world):
        yield ask(world.devops, world.key(notes="as it was"), operation=code, note=MARKUP)

    return samples


# Keys


def revocations(world):
    yield world.ask("key.revoke", {"key": world.key(MARKUP).pk, "reason_code": "key_compromise"})
    several = [world.key().pk for _ in range(5)]
    yield world.ask("key.revoke", {"keys": several, "reason_code": "superseded"}, reason="the partner\nhas left")


def destructions(world):
    said = {"method": "deleted & overwritten", "evidence": "<ticket> 5120", "destroyed_on": "2026-11-20"}
    for state in (State.PRE_ACTIVATION, State.DEACTIVATED):
        yield world.ask("key.destroy", {"key": world.key(state=state).pk, **said})


def reactivations(world):
    for why in ("its owner has left", f"seen in a log: {MARKUP}"):
        key = world.key()
        suspend_key(pk=key.pk, **world.how(why))
        yield world.ask("key.reactivate", {"key": key.pk})


def dates(world):
    at = canonical.timestamp(timezone.now() + timedelta(days=90))
    yield world.ask("key.dates", {"key": world.key().pk, "dates": {"protect_until": at}})
    yield world.ask("key.dates", {"key": world.key().pk, "dates": {"protect_until": at, "process_until": at}})


def _hold(world, reason="it is a test key", **changes):
    key = world.key(TEMPLATE)
    held = services.hold_edit(pk=key.pk, changes=changes, expected_revision=key.revision, **world.how(reason))
    return Request.objects.get(pk=held.pk)


def edits(world):
    shop = services.register_service(name=MARKUP, team=None, tier=2, actor=world.how()["actor"], now=timezone.now())
    yield _hold(world, environment="test", notes=TURNED, service=shop)
    yield _hold(world, FOREIGN, environment="test", owner=make_owner("<i>ann</i>", "ann@example.org"))


def rotations(world):
    on = (timezone.now() - timedelta(days=2)).date()
    for evidence, url in ((MARKUP, "https://ci.example.org/?a=1&b=<2>"), (TURNED, "")):
        said = {"rotated_on": on, "evidence": evidence, "url": url, "actor": world.how()["actor"]}
        told = services.report_rotation(pk=world.key().pk, now=timezone.now(), **said)
        yield Request.objects.get(pk=told.pk)


# DEKs


def _dek(world):
    """Return a DEK of two versions, the first one confirmed, as records; no store is asked for a request."""
    number = next(world.numbers)
    with _become("worker"):
        above, key = world.key(MARKUP, kind="kek"), world.key(TEMPLATE, kind="dek", secret_name=f"{FOREIGN} {number}")
        kek = Kek.objects.create(key=above, uri=f"local:house/d{number}", algorithm="AES-256-KW")
        under = KekVersion.objects.create(version=above.versions.get(), kek=kek, store_id="1", status_at=timezone.now())
        Kek.objects.filter(pk=kek.pk).update(primary=under)
        made = DekVersion.objects.create(version=key.versions.get(), key=key, number=1)
        add_wrappings([(under.pk, made.pk, b"w")])
    return key, under


def dek_rotations(world):
    yield world.ask("dek.rotate", {"key": _dek(world)[0].pk}, reason=FOREIGN)


def clearings(world):
    key, under = _dek(world)
    facts = being_carried_out("key.rotation", key.ref).facts
    with _become("worker"):
        drawn = Drawn(key=key.pk, number=2, kek_version=under.pk, wrapped=b"v", binding=bytes(32))
        rotate_dek(drawn=drawn, facts=facts, **world.how())
    DekVersion.objects.filter(key=key, number=1).update(reencrypted_at=timezone.now(), reencrypted_by="user:1")
    yield world.ask("dek.clear", {"key": key.pk, "number": 1}, reason=TURNED)


# KEKs


def _kek(world, *, statuses=("enabled", "enabled")):
    """Return a KEK whose last version is the primary, if open; no store is asked before a request is carried out."""
    number = next(world.numbers)
    with _become("worker"):
        key = world.key(MARKUP, kind="kek")
        kek = Kek.objects.create(key=key, uri=f"local:house/k{number}", algorithm="AES-256-KW", newest_seen="2")
        generations = [key.versions.get(), KeyVersion.objects.create(key=key, number=2)]
        for one, status in zip(generations, statuses, strict=True):
            made = KekVersion(version=one, kek=kek, store_id=str(one.number), status=status, status_at=timezone.now())
            made.closed_at = None if status == "enabled" else timezone.now()
            made.save(force_insert=True)
        if made.closed_at is None:
            Kek.objects.filter(pk=kek.pk).update(primary=made)
    return kek


def new_keks(world):
    shop = services.register_service(name=TURNED, team=None, tier=2, actor=world.how()["actor"], now=timezone.now())
    owner = make_owner("<i>kim</i>", "kim@example.org")
    facts = {"owner": owner.ref, "creator": owner.ref, "service": shop.ref, "environment": "production"}
    with override_settings(KMS_STORES={"house": "local:///nowhere#house"}):
        for number, taken_over in enumerate((False, True)):
            more = {"created_on": "2026-01-05", "last_rotated_on": None} if taken_over else {}
            said = {"uri": f"local:house/new{number}", "algorithm": "AES-256-KW", "takes_over": taken_over}
            said["facts"] = {**facts, **more, "name": f"new {number} {MARKUP}", "notes": WORDS[3]}
            yield world.ask("kek.create", said)


def kek_links(world):
    with override_settings(KMS_STORES={"house": "local:///nowhere#house"}):
        for number, said in enumerate(({}, {"algorithm": "AES", "size_bits": 256, "storage_location": TURNED})):
            key = world.key(MARKUP, kind="kek", **said)
            asked = {"key": key.pk, "uri": f"local:house/there{number}", "algorithm": "AES-256-KW"}
            yield world.ask("kek.link", asked, reason=FOREIGN)


def kek_rotations(world):
    yield world.ask("kek.rotate", {"key": _kek(world).pk}, reason=FOREIGN)
    yield world.ask("kek.rotate", {"key": _kek(world, statuses=("disabled", "enabled")).pk})


def _kek_ends(code, **more):
    def samples(world):
        for statuses in (("enabled", "enabled"), ("enabled", "disabled")):
            yield world.ask(code, {"key": _kek(world, statuses=statuses).pk, "number": 1, **more}, by=world.security)

    return samples


def kek_recoveries(world):
    for status in ("disabled", "scheduled"):
        yield world.ask("kek.recover", {"key": _kek(world, statuses=(status, "enabled")).pk, "number": 1})


# Rules


def _seen(**record):
    return simulate(**record, now=timezone.now()).digest


def new_clauses(world):
    facts = {"source": FOREIGN, "document": MARKUP, "section": TURNED, "requirement": "R1", "text": WORDS[3]}
    facts |= {"kinds": ["api_token"], "longest_age_days": 30, "on_events": [TEMPLATE], "not_exportable": True}
    for name in (MARKUP, TEMPLATE, TURNED, FOREIGN, MARKUP, TEMPLATE):  # findings open on them, and five are named
        world.key(name, is_exportable=True)
    said = {"code": "ours", "facts": facts, "seen": _seen(clause=PolicyClause(code="ours", **facts))}
    yield world.ask("clause.register", said, by=world.security)


def _about_clause(world, code, **changes):
    clause = PolicyClause.objects.get(code="s4-production-90")
    said = {"clause": clause.pk, "revision": clause.revision, **({"changes": changes} if changes else {})}
    for name, value in (changes or {"is_in_force": False}).items():
        setattr(clause, name, value)
    return world.ask(code, said | {"seen": _seen(clause=clause)}, by=world.security)


def clause_edits(world):
    world.key()
    yield _about_clause(world, "clause.edit", longest_age_days=60, text=MARKUP, document=TURNED)
    yield _about_clause(world, "clause.edit", longest_age_days=None, on_events=[FOREIGN], kinds=[])


def retirements(world):
    yield _about_clause(world, "clause.retire")


def lowerings(world):
    services.set_threat_level(changes={"level": "high"}, expected_revision=1, **world.how())
    threat = ThreatLevel.objects.get()
    said = {"revision": threat.revision, "changes": {"level": "elevated", "elevated_percent": 90}}
    threat.level, threat.elevated_percent = "elevated", 90
    yield world.ask("threat_level.lower", said | {"seen": _seen(threat=threat)}, by=world.security)


def exceptions(world):
    clause = PolicyClause.objects.get(code="s4-production-90")
    late = (timezone.now() - timedelta(days=100)).date()
    said = {"key": world.key(last_rotated_on=late).pk, "clause": clause.pk, "revision": clause.revision}
    said |= {"until": in_days(30), "compensating_control": MARKUP, "residual_risk": TURNED}
    yield world.ask("exception.grant", said, by=world.security)


def rules(world):
    for votes, hours in (({"Security": 2, "Management": 1}, 4), ({}, 1)):
        said = {"operation": "role.grant", "votes": votes, "lifetime_hours": hours}
        yield world.ask("rule.change", said, by=world.security)


def routes(world):
    hostile = '"<b>&amp;{{7}}</b>"@example.org'
    for kind, roles in (("log_differs", ["DevOps", "Auditor"]), ("quorum", [])):
        yield world.ask("alerts.change", {"kind": kind, "roles": roles, "addresses": [hostile]}, by=world.security)


# The log


def retentions(world):
    yield world.ask("retention.change", {"days": 4_000}, by=world.security)


def periods(world):
    """Closing a period for good takes a log of its own; this is the row of one, over what the signer has signed."""
    seal()
    with override_settings(SIGNING_KEY=bytes(range(7, 39)), LOG_ORIGIN="keys.example.org/audit", ANCHORS=[]):
        with _become("signer"):
            made = make_checkpoint(actor=Actor.system("signer"), now=timezone.now())
        signed, last = SignedCheckpoint.objects.get(size=made.size), Event.objects.get(number=made.size)
        long_ago = timezone.now() - timedelta(days=9_000)
        with _become("migrator"):
            Period.objects.create(
                number=1, first=1, last=made.size, digest_before=bytes(32), digest_after=bytes(last.digest),
                oldest_at=long_ago, newest_at=long_ago, root=bytes(signed.root), checkpoint=signed, proof=b"",
                retention_days=365, export_name=MARKUP, export_bytes=1, export_digest=bytes(range(32)),
                closed_at=timezone.now(), closed_by="command:close_audit_period",
            )  # fmt: skip
        yield world.ask("period.drop", {"period": 1}, by=world.security)


# People


def grants(world):
    for name, role in (("pat", "DevOps"), ("quinn", "Management")):
        yield world.ask("role.grant", {"person": make_person(name, "Auditor").pk, "role": role}, by=world.security)
    said = {"person": make_person("sol", "Auditor").pk, "role": "Engineering", "ends_on": in_days(30)}
    yield world.ask("role.grant", said, by=world.security)


def resets(world):
    person = make_person("tove", "Engineering")
    give_device(person)
    yield world.ask("factors.reset", {"person": person.pk}, by=world.security)


def _gone(world, name):
    person = make_person(name, "Engineering")
    deactivate_person(person=person, **world.how())
    return {"person": person.pk}


def returns(world):
    yield world.ask("person.reactivate", _gone(world, "uma"), by=world.security)
    yield world.ask("person.reactivate", _gone(world, "vic") | {"ends_on": in_days(30)}, by=world.security)


def erasures(world):
    yield world.ask("person.erase", _gone(world, "wes"), by=world.security, reason=WORDS[3])


def _kek_of_sources(world):
    key = world.key("kek", kind="kek")
    with _become("worker"):
        return Kek.objects.create(key=key, uri=f"local:house/{key.pk}", algorithm="AES-256-KW")


ELSEWHERE = {
    "host": "db.example.com", "port": 5432, "database": "payments", "login": "rewrapper",
    "password_file": "/run/secrets/sources/payments", "ca_file": "/etc/ca.pem", "table": "public.data_keys",
    "id_column": "id", "wrapped_column": "wrapped", "version_column": "kek_version", "form": "bytes",
}  # fmt: skip


def sources(world):
    bound = {"binding_column": "binding", "context_column": "context", "port": 5433}
    for name, more in ((MARKUP, {}), (FOREIGN, bound)):
        said = {"kek": _kek_of_sources(world).pk, "name": name} | ELSEWHERE | more
        yield world.ask("source.register", said, by=world.security)


def retired_sources(world):
    for name, counts in (("empty", {}), (TEMPLATE, {"1": 1234, "?": 1})):
        kek, said = _kek_of_sources(world), {"name": name} | ELSEWHERE | {"table": f"public.{len(counts)}"}
        with permitted_by("source.register", world.security, {"name": name}):
            made = RewrapSource(kek=kek, registered_at=timezone.now(), counts=counts, **said)
            made.save(force_insert=True)
        yield world.ask("source.retire", {"source": made.pk}, by=world.security)


SAMPLES = {
    THING: things,
    NOTE: notes(NOTE),
    ONE_VOTE: notes(ONE_VOTE),
    TWICE: notes(TWICE),
    AT_MACHINE: notes(AT_MACHINE),
    "key.revoke": revocations,
    "key.destroy": destructions,
    "key.reactivate": reactivations,
    "key.dates": dates,
    "key.edit": edits,
    "key.rotation": rotations,
    "dek.rotate": dek_rotations,
    "dek.clear": clearings,
    "kek.create": new_keks,
    "kek.link": kek_links,
    "kek.rotate": kek_rotations,
    "kek.disable": _kek_ends("kek.disable"),
    "kek.schedule": _kek_ends("kek.schedule", days=30),
    "kek.purge": _kek_ends("kek.purge"),
    "kek.recover": kek_recoveries,
    "clause.register": new_clauses,
    "clause.edit": clause_edits,
    "clause.retire": retirements,
    "threat_level.lower": lowerings,
    "exception.grant": exceptions,
    "source.register": sources,
    "source.retire": retired_sources,
    "rule.change": rules,
    "alerts.change": routes,
    "retention.change": retentions,
    "period.drop": periods,
    "role.grant": grants,
    "factors.reset": resets,
    "person.reactivate": returns,
    "person.erase": erasures,
}
