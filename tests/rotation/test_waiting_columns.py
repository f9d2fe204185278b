"""Whose votes a request waits for, kept by the database whoever writes."""

import pytest
from django.db import ProgrammingError, connection, transaction
from django.utils import timezone

from rotation.models import Request, RequestState, Vote
from rotation.operations.base import Step
from tests.conftest import make_person
from tests.rotation.request_world import BOTH, asked, payload_for, row_of, voted

pytestmark = pytest.mark.django_db


def test_a_request_waits_for_the_roles_whose_votes_are_missing(alice, bob, carol, as_role):
    steps = (Step("Security", 2), Step("DevOps"))
    request = asked("test.thing", carol, steps=steps, excluded=("user:999",))
    assert sorted(request.waits_for) == ["DevOps", "Security"]
    assert sorted(request.barred) == sorted([carol.ref, "user:999"])
    vote = voted(request, bob, "DevOps")
    request.refresh_from_db()
    assert request.waits_for == ["Security"]
    voted(request, alice, "Security")
    request.refresh_from_db()
    assert request.waits_for == ["Security"]  # one of two
    voted(request, make_person("anna", "Security"), "Security")
    request.refresh_from_db()
    assert request.waits_for == []
    with as_role("worker"):
        Vote.objects.filter(pk=vote.pk).update(voided_at=timezone.now(), voided_because="no longer of DevOps")
    request.refresh_from_db()
    assert request.waits_for == ["DevOps"]


def test_a_request_that_is_decided_waits_for_nobody(bob, carol):
    request = asked("test.thing", carol)
    voted(request, bob, "DevOps", approves=False)
    Request.objects.filter(pk=request.pk).update(state=RequestState.REJECTED, closed_at=timezone.now())
    request.refresh_from_db()
    assert request.waits_for == []


def test_nobody_writes_what_a_request_waits_for(carol):
    made = row_of(payload_for("test.thing", carol, steps=BOTH), person=carol)
    made.waits_for, made.barred = ["Auditor"], []
    made.save(force_insert=True)
    made.refresh_from_db()
    assert sorted(made.waits_for) == ["DevOps", "Security"]
    assert made.barred == [carol.ref]
    for column in ("waits_for", "barred"):
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            Request.objects.filter(pk=made.pk).update(**{column: ["Auditor"]})
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_function_privilege('keyvault_web', 'rotation_waits_for(bigint, jsonb)', 'EXECUTE')")
        assert cursor.fetchone() == (False,)
