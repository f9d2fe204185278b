"""Who there is: a superuser, too few who can decide, a quorum that somebody restored alone."""

from datetime import datetime

from django.core.checks import run_checks

from keyvault_admin.access.models import QuorumReview, User
from keyvault_admin.checks import people
from tests.conftest import RoleSwitch, make_person
from tests.people import give_device


def test_a_superuser_is_found_by_doctor_and_by_check(carol: User, as_role: RoleSwitch) -> None:
    assert not people.nobody_is_superuser().mend
    assert "face.W001" not in {said.id for said in run_checks(include_deployment_checks=True, databases=["default"])}
    with as_role("migrator"):
        User.objects.filter(pk=carol.pk).update(is_superuser=True)
    assert people.nobody_is_superuser().said.startswith("1 active superusers")
    assert "face.W001" in {said.id for said in run_checks(include_deployment_checks=True, databases=["default"])}
    assert "face.W001" not in {said.id for said in run_checks(include_deployment_checks=True)}
    with as_role("migrator"):
        User.objects.filter(pk=carol.pk).update(is_active=False)
    assert not people.nobody_is_superuser().mend


def test_too_few_who_can_decide_are_told(alice: User, bob: User) -> None:
    give_device(alice)
    give_device(bob)
    answer = people.enough_can_decide()
    assert answer.said.endswith("it is short of Security and DevOps.")
    assert "bootstrap_admin" in answer.mend
    give_device(make_person("sue", "Security"))
    assert people.enough_can_decide().said.endswith("it is short of DevOps.")
    give_device(make_person("dan", "DevOps"))
    assert not people.enough_can_decide().mend


def test_a_restored_quorum_waits_for_its_review(bob: User, now: datetime, as_role: RoleSwitch) -> None:
    assert not people.restored_quorum_is_reviewed().mend
    with as_role("migrator"):
        QuorumReview.objects.create(person=bob, role="DevOps", reason="both have left", restored_at=now)
    assert people.restored_quorum_is_reviewed().said.startswith("1 restored")
    assert people.restored_quorum_is_reviewed().mend
