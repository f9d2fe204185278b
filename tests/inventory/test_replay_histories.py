"""AUD, replay: whatever happens through the services, the log tells the inventory that the tables hold, at each step.

5 histories of up to 12 steps; under `make test-full` 1,000 of up to 40.
"""

import sys
from datetime import date, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from audit.selectors import head
from inventory import services
from inventory.errors import InventoryError
from inventory.guarded.suspending import suspend_key
from inventory.models import Key, Owner, PolicyClause, PolicyException, Service, ThreatLevel, Vendor
from inventory.replay import tables
from inventory.replay.comparing import compare
from inventory.replay.running import Run
from inventory.services import Relations
from inventory.states import ENTRIES, State
from inventory.terms import Relation
from rotation.errors import RotationError
from rotation.models import Request, RequestState
from rotation.overdue import flag_overdue
from tests import rules_by_votes
from tests.approving import as_worker
from tests.conftest import make_person
from tests.deciding import by, carry_out, withdraw
from tests.inventory.world import ACTOR, NOW, facts, seal
from tests.rotation.request_world import voted

FULL = "tests.full" in sys.modules
HISTORIES, STEPS = (1_000, 40) if FULL else (3, 12)
REASON = {"actor": ACTOR, "reason": "test"}
CERTAIN = st.sampled_from
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "notes": CERTAIN(["", "looked at", "\u00fcber"]),
        "environment": CERTAIN(["", "production", "staging", "test"]),
        "is_shared": CERTAIN([None, True, False]),
        "is_exportable": CERTAIN([None, True, False]),
        "size_bits": CERTAIN([None, 1024, 4096]),
        "algorithm": CERTAIN(["", "RSA", "AES"]),
        "labels": CERTAIN([{}, {"team": "a", "n": 2}]),
        "last_rotated_on": CERTAIN([date(2026, 7, 13), date(2026, 2, 1), date(2026, 11, 1)]),
        "runbook_url": CERTAIN(["", "https://example.org/run"]),
        "kind": CERTAIN(["api_token", "kek", "tls_certificate"]),
    },
)


class History(RuleBasedStateMachine):
    """A few keys and what belongs to them; `seen` is what the tables held after some event."""

    def __init__(self):
        super().__init__()
        self.block = transaction.atomic()
        self.block.__enter__()
        self.clock, self.made = NOW, 0
        self.asker, self.decider = make_person("carol", "Engineering"), make_person("bob", "DevOps")
        self.seen = {}
        self.register(state=State.ACTIVE, changes={}, nth=3, of=False)
        self.look()

    def look(self):
        seal()
        found = list(Run().differences())
        assert [str(one) for one in found] == []
        held = [*tables.keys(None), *tables.others()]
        self.seen[head().number] = held

    def tried(self, act):
        """Do something that a rule may refuse; then it has left nothing."""
        try:
            with transaction.atomic():
                act()
        except (InventoryError, RotationError, ValidationError):
            pass
        self.look()

    def key(self, nth):
        keys = list(Key.objects.order_by("pk"))
        return keys[nth % len(keys)]

    def one(self, model, nth):
        rows = list(model.objects.order_by("pk"))
        return rows[nth % len(rows)] if rows else None

    @rule(
        state=CERTAIN([State.PRE_ACTIVATION, *sorted(ENTRIES)]),
        changes=CHANGES,
        nth=st.integers(0, 5),
        of=st.booleans(),
    )
    def register(self, state, changes, nth, of):
        self.made += 1
        said = facts(name=f"key/{self.made}") | changes
        if of:
            said |= {"owner": self.one(Owner, nth), "service": self.one(Service, nth), "vendor": self.one(Vendor, nth)}
        if state == State.PRE_ACTIVATION:
            said |= {"activates_at": self.clock + timedelta(hours=5)}
        said |= {"protect_until": self.clock + timedelta(hours=9)} if nth == 1 else {}
        self.tried(lambda: services.register_key(facts=said, state=state, **REASON, now=self.clock))

    @rule(nth=st.integers(0, 5), changes=CHANGES, confirmed=CERTAIN([True, False, None]))
    def edit(self, nth, changes, confirmed):
        key = self.key(nth)
        how = {"pk": key.pk, "changes": changes, "expected_revision": key.revision}
        self.tried(lambda: services.edit_key(**how, **REASON, now=self.clock))
        self.tried(lambda: services.hold_edit(**how, actor=by(self.asker), reason="more time", now=self.clock))
        self.decide(confirmed)

    @rule(nth=st.integers(0, 5), days=st.integers(0, 40), confirmed=CERTAIN([True, False, None]))
    def rotate(self, nth, days, confirmed):
        on = self.clock.date() - timedelta(days=days)
        how = {"pk": self.key(nth).pk, "rotated_on": on, "evidence": "change 1", "url": "https://example.org/1"}
        self.tried(lambda: services.report_rotation(**how, actor=by(self.asker), now=self.clock))
        self.decide(confirmed)

    @rule(confirmed=CERTAIN([True, False, None]))
    def decide(self, confirmed):
        """Have the oldest request decided; a vote is a row here, since its code wants a transaction of its own."""
        asked = Request.objects.filter(state=RequestState.OPEN).order_by("pk").first()
        if asked is None:
            return
        if confirmed is None:
            self.tried(lambda: withdraw(asked, self.asker, now=self.clock))
            return
        with transaction.atomic():
            voted(asked, self.decider, "DevOps", approves=confirmed)
        states = {"approved_at": self.clock} if confirmed else {"closed_at": self.clock}
        state = RequestState.APPROVED if confirmed else RequestState.REJECTED
        Request.objects.filter(pk=asked.pk).update(state=state, **states)
        self.tried(lambda: confirmed and carry_out(asked, now=self.clock))

    @rule(nth=st.integers(0, 5), other=st.integers(0, 5), may=st.booleans(), relation=CERTAIN(list(Relation)))
    def relate(self, nth, other, may, relation):
        key, above, used_by = self.key(nth), self.key(other), self.one(Service, other)
        relations = Relations(
            consumers={used_by.pk: may} if used_by else {},
            parents=frozenset({(above.pk, relation.value)} if above != key else ()),
        )
        how = {"pk": key.pk, "changes": {}, "expected_revision": key.revision, "relations": relations}
        self.tried(lambda: services.edit_key(**how, **REASON, now=self.clock))

    @rule(nth=st.integers(0, 5), act=CERTAIN([suspend_key, services.activate_key]))
    def move(self, nth, act):
        self.tried(lambda: act(pk=self.key(nth).pk, **REASON, now=self.clock))

    @rule(hours=CERTAIN([-1, 1, 6, 30, 24 * 20, 24 * 100]))
    def time_passes(self, hours):
        self.clock += timedelta(hours=hours)
        with as_worker():
            services.apply_due_transitions(actor=ACTOR, now=self.clock)
        with as_worker():
            services.expire_exceptions(actor=ACTOR, now=self.clock)
        flag_overdue(actor=ACTOR, now=self.clock)
        services.review_findings(after=0, actor=ACTOR, now=self.clock)
        self.look()

    @rule(nth=st.integers(0, 5), days=CERTAIN([1, 30, 90]), code=CERTAIN(["s0-5-annual", "s4-production-90"]))
    def except_it(self, nth, days, code):
        until = self.clock + timedelta(days=days)
        self.tried(lambda: rules_by_votes.grant(self.key(nth), code, until=until, now=self.clock, actor=ACTOR))

    @rule(nth=st.integers(0, 3))
    def end_an_exception(self, nth):
        if found := self.one(PolicyException, nth):
            self.tried(lambda: services.end_exception(pk=found.pk, **REASON, now=self.clock))

    @rule(days=CERTAIN([10, 90, 400]), code=CERTAIN(["s0-5-annual", "s4-production-90"]), retire=st.booleans())
    def change_a_clause(self, days, code, retire):
        clause = PolicyClause.objects.get(code=code)
        how = {"pk": clause.pk, "expected_revision": clause.revision, **REASON, "now": self.clock}
        if retire and days == 400:
            self.tried(lambda: rules_by_votes.retire_clause(**how))
        else:
            self.tried(lambda: rules_by_votes.edit_clause(changes={"longest_age_days": days}, **how))

    @rule(level=CERTAIN(["normal", "elevated", "high"]), percent=CERTAIN([50, 80]))
    def change_the_threat(self, level, percent):
        how = {"expected_revision": ThreatLevel.objects.get().revision, **REASON, "now": self.clock}
        changes = {"level": level, "elevated_percent": percent}
        self.tried(lambda: rules_by_votes.set_threat_level(changes=changes, **how))

    @rule(nth=st.integers(0, 3), gone=st.booleans())
    def people_and_services(self, nth, gone):
        self.made += 1
        how = {"actor": ACTOR, "now": self.clock}
        name = f"n{self.made}"
        self.tried(lambda: services.register_owner(handle=name, mail=f"{name}@example.org" if gone else "", **how))
        self.tried(lambda: services.register_vendor(name=name, notes="n" if gone else "", **how))
        team, vendor = self.one(Owner, nth), self.one(Vendor, nth)
        self.tried(lambda: services.register_service(name=name, team=team, vendor=vendor, tier=nth or None, **how))
        edits = [
            (services.edit_owner, Owner, {"is_active": not gone, "handle": f"{name}x"}),
            (services.edit_service, Service, {"description": name, "data_classes": ["restricted"], "tier": 2}),
            (services.edit_vendor, Vendor, {"notes": name}),
        ]
        for edit, model, changes in edits:
            row = self.one(model, nth)
            said = {"pk": row.pk, "changes": changes, "expected_revision": row.revision}
            self.tried(lambda edit=edit, said=said: edit(**said, **REASON, now=self.clock))

    @rule(nth=st.integers(0, 5), rotated=CERTAIN(["2026-11-20", "2026-01-20"]), mail=st.booleans())
    def bring_a_file(self, nth, rotated, mail):
        self.made += 1
        known = self.key(nth).name
        owner = "eve@example.org" if mail else "eve"
        content = (
            "Name,Type,Owner,Service,Vendor,Tenant,Integration,Last rotated,Used by,Shared,Wrapped by\n"
            f"{known},api_token,{owner},shop,acme,t1,,{rotated},shop,no,\n"
            f"new/{self.made},dek,{owner},shop,acme,t2,i{self.made},{rotated},,yes,{known}\n"
        ).encode()
        how = {"content": content, "file_name": "keys.csv", **REASON, "now": self.clock}
        self.tried(lambda: services.apply_import(**how))

    @rule(nth=st.integers(0, 5))
    def make_findable(self, nth):
        material = b"-" * 5 + f"token {self.made} 0123456789abcdefghijklmnopqrstuvwxyzABCDEF".encode()
        how = {"pk": self.key(nth).pk, "material": material, **REASON, "now": self.clock}
        self.tried(lambda: services.register_material_digest(**how))

    def each_step_can_be_told_again(self):
        for number, held in list(self.seen.items())[:: 1 if FULL else 4]:
            run = Run(until=number)
            (fold,) = run.folds()
            told = {one.ref: one for one in (*fold.keys.values(), *fold.records)}
            for stored in held:
                found = list(compare(told.pop(stored.ref, None), stored, is_cut=False))
                assert [str(one) for one in found] == []
            assert not told

    def teardown(self):
        try:
            self.each_step_can_be_told_again()
        finally:
            transaction.set_rollback(True)
            self.block.__exit__(None, None, None)


@pytest.mark.django_db
@pytest.mark.timeout(14_400 if FULL else 1200)
def test_random_histories_are_told_by_the_log_at_each_step():
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=HISTORIES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
