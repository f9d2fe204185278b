"""STM-02: whatever happens to a key, in whatever order, its state, its dates and its log agree.

30 histories of up to 15 steps; under `make test-full` 2,000 of up to 30.
"""

import sys
from contextlib import nullcontext
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from audit.models import Event, EventSubject
from audit.selectors import read
from audit.services import Subject, record
from audit.verification import verify
from inventory import lifecycle, services
from inventory.errors import IllegalTransitionError, SecondPersonError
from inventory.guarded.suspending import suspend_key
from inventory.models import Key, KeyVersion
from inventory.states import BY_PAIR, State
from tests.approving import as_worker, voters
from tests.inventory.world import ACTOR, NOW, action_for, allowed, make_key, seal

FULL = "tests.full" in sys.modules
HISTORIES, STEPS = (2_000, 30) if FULL else (10, 15)
DATES = {
    State.ACTIVE: "activated_at",
    State.SUSPENDED: "suspended_at",
    State.DEACTIVATED: "deactivated_at",
    State.COMPROMISED: "compromised_at",
    State.DESTROYED: "destroyed_at",
    State.DESTROYED_COMPROMISED: "compromised_at",
}


class History(RuleBasedStateMachine):
    """One key; `states` is what ought to have happened to it."""

    def __init__(self):
        super().__init__()
        self.block = transaction.atomic()
        self.block.__enter__()
        self.clock = NOW
        self.activates_at, self.protect_until = NOW + timedelta(hours=20), NOW + timedelta(hours=60)
        self.key = make_key(
            state=State.PRE_ACTIVATION, activates_at=self.activates_at, protect_until=self.protect_until
        )
        self.states = [State.PRE_ACTIVATION]
        self.refused = 0
        self.people = voters()
        seal()

    @property
    def now(self):
        return self.states[-1]

    def tried(self, target, act, *errors):
        """Run an act that ought to lead to the state, or, if that is None, to be refused without a trace."""
        revision = Key.objects.get(pk=self.key.pk).revision
        if target is None:
            with pytest.raises(errors), transaction.atomic():
                act()
            self.refused += 1
            assert Key.objects.get(pk=self.key.pk).revision == revision
        else:
            act()
            self.states.append(target)
            assert Key.objects.get(pk=self.key.pk).revision == revision + 1
        seal()

    @rule(to=st.sampled_from(State), reason=st.sampled_from(["key_compromise", "superseded"]))
    def move(self, to, reason):
        def act():
            key = Key.objects.select_for_update().get(pk=self.key.pk)
            subject = Subject(ref=key.ref, before={"state": key.state}, after={"state": to.value})
            action = action_for(State(key.state), to)
            with allowed(key, action, people=self.people) if (self.now, to) in BY_PAIR else nullcontext({}) as facts:
                event = record(action, actor=ACTOR, now=self.clock, subjects=[subject], facts=facts)
                lifecycle.transition(key, to=to, event=event, now=self.clock, reason=reason)

        self.tried(to if (self.now, to) in BY_PAIR else None, act, IllegalTransitionError)

    @rule()
    def suspend(self):
        target = State.SUSPENDED if self.now == State.ACTIVE else None
        how = {"pk": self.key.pk, "actor": ACTOR, "reason": "test", "now": self.clock}
        self.tried(target, lambda: suspend_key(**how), IllegalTransitionError)

    @rule()
    def activate(self):
        target = State.ACTIVE if self.now == State.PRE_ACTIVATION else None
        how = {"pk": self.key.pk, "actor": ACTOR, "reason": "test", "now": self.clock}
        self.tried(target, lambda: services.activate_key(**how), IllegalTransitionError, SecondPersonError)

    @rule(hours=st.integers(-1, 30))
    def time_passes(self, hours):
        self.clock += timedelta(hours=hours)

    @rule()
    def beat(self):
        for _ in range(2):  # the second time there is nothing left to do
            if self.now == State.PRE_ACTIVATION and self.clock >= self.activates_at:
                self.states.append(State.ACTIVE)
            if self.now in {State.ACTIVE, State.SUSPENDED} and self.clock >= self.protect_until:
                self.states.append(State.DEACTIVATED)
            with as_worker():
                services.apply_due_transitions(actor=ACTOR, now=self.clock)
            seal()

    @rule()
    @precondition(lambda self: self.now != State.DESTROYED_COMPROMISED)
    def edit(self):
        key = Key.objects.get(pk=self.key.pk)
        services.edit_key(
            pk=key.pk, changes={"notes": f"{key.revision}"}, expected_revision=key.revision, actor=ACTOR, reason="test",
            now=self.clock,
        )  # fmt: skip
        seal()

    @invariant()
    def the_key_its_version_and_what_happened_agree(self):
        version = KeyVersion.objects.select_related("key").get(key=self.key, number=F("key__current_number"))
        assert version.state == version.key.state == self.now

    def every_state_has_left_its_date(self):
        version = self.key.versions.get()
        missing = [state for state in self.states[1:] if getattr(version, DATES[state]) is None]
        assert missing == []
        if State.COMPROMISED in self.states:
            assert version.revoked_at
            assert version.revocation_reason

    def each_change_and_nothing_else_has_its_event(self):
        numbers = EventSubject.objects.filter(subject=self.key.ref).values("number")
        events = read(Event.objects.filter(number__in=numbers).order_by("number"))
        subjects = [event.said.subjects[0] for event in events]
        pairs = [(one.before["state"], one.after["state"]) for one in subjects if "state" in one.after]
        assert pairs == [(a.value, b.value) for a, b in zip(self.states, self.states[1:], strict=False)]
        assert all((State(source), State(target)) in BY_PAIR for source, target in pairs)

    def teardown(self):
        try:
            self.every_state_has_left_its_date()
            self.each_change_and_nothing_else_has_its_event()
            verdict = verify()
            assert verdict.is_whole, verdict.findings
        finally:
            transaction.set_rollback(True)
            self.block.__exit__(None, None, None)


@pytest.mark.django_db
@pytest.mark.timeout(14_400 if FULL else 1200)
def test_random_histories_keep_state_dates_and_log_in_step():
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=HISTORIES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
