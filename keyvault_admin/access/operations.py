"""The guarded operations about people: a role, lost second factors, coming back, and being erased.

Nobody votes on what is about themselves. Their parameters name the person by number: the payload shows the user name,
which is in front of everybody anyway, and never a mail address.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial

from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.models import Owner
from inventory.permits import Permit
from inventory.selectors import held_by
from keyvault_admin.access import guarded, selectors
from keyvault_admin.access.errors import AccessError, InactiveError, RoleError
from keyvault_admin.access.guarded.erasure import refuse_unerasable
from keyvault_admin.access.guarded.factors import refuse_unenrolled
from keyvault_admin.access.guarded.roles import refuse_held, refuse_past, refuse_working
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import MATRIX, VOTING, Role
from keyvault_admin.access.services.pieces import KNOWN_TO_WORKERS, lock_memberships, refuse_if_last
from keyvault_admin.access.wording import PURPOSES, TOPICS
from rotation.operations import register
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Payload, Step, Target

BOTH = (Step(SECURITY), Step(DEVOPS))


class NobodyError(AccessError):
    """The parameters name nobody."""

    def __init__(self) -> None:
        super().__init__("There is no such person.")


# What they share


def _person(parameters: Mapping[str, JSON], *, hold: bool) -> User:
    """Return who it is about; held, no other change of who may vote goes on until the transaction is over."""
    if hold:
        lock_memberships()
    people = User.objects.only(*KNOWN_TO_WORKERS)
    found = (people.select_for_update() if hold else people).filter(pk=_number(parameters)).first()
    if found is None:
        raise NobodyError
    return found


def _number(parameters: Mapping[str, JSON]) -> int:
    return int(str(parameters["person"]))


def _working(person: User, now: datetime) -> None:
    """Raises: InactiveError."""
    if not person.is_active or person.has_ended(now.date()):
        raise InactiveError("This account is out of use. Have the person re-activated first.")


def _day(parameters: Mapping[str, JSON]) -> date | None:
    said = parameters.get("ends_on")
    return date.fromisoformat(str(said)) if said else None


def _draft(person: User, label: str, facts: Mapping[str, JSON]) -> Draft:
    target = Target(ref=person.ref, label=label, revision=selectors.revision_of(person))
    return Draft(targets=[target], facts=facts, excluded=[person.ref])


def _of(payload: Payload) -> User:
    """Return the person to act on; the services lock and read them."""
    return User(pk=_number(payload.parameters))


def _page(payload: Payload) -> str:
    return reverse("admin:access_user_change", args=[payload.parameters["person"]])


def _names(found: JSON) -> str:
    return ", ".join(map(str, found)) if isinstance(found, Sequence) and found else "none"


def _until(day: JSON) -> str:
    return f"{date.fromisoformat(str(day)):%-d %B %Y}" if day else "none"


def _enrolled(facts: Mapping[str, JSON]) -> str:
    return "yes" if facts["enrolled"] else "not yet: they cannot sign in, so they cannot act or vote before they are"


# A role


def _role(parameters: Mapping[str, JSON]) -> Role:
    """Return the role by its exact name. Raises: RoleError."""
    name = str(parameters["role"])
    try:
        return Role(name)
    except ValueError as error:
        raise RoleError(f"{name} is no role.") from error


def _draft_grant(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    person, role = _person(parameters, hold=hold), _role(parameters)
    _working(person, now)
    refuse_held(person, role)
    refuse_past(_day(parameters), now)
    held = [Role(name) for name in person.role_names if name in set(Role)]
    facts: dict[str, JSON] = {
        "before": list(person.role_names),
        "after": sorted([*person.role_names, role.value]),
        "may": gained(role, held),
        "enrolled": selectors.is_enrolled(person),
        "ended_on": person.ends_on.isoformat() if person.ends_on else None,
    }
    return _draft(person, person.username, facts)


def gained(role: Role, held: Sequence[Role]) -> list[JSON]:
    """Return in words what a role lets one do that the others do not."""
    had = {code for other in held for code in MATRIX[other]}
    return [words for _, lines in TOPICS for code, words in lines if code in MATRIX[role] - had]


def _describe_grant(payload: Payload) -> Description:
    name, role, facts = payload.targets[0].label, Role(str(payload.parameters["role"])), payload.facts
    until = payload.parameters.get("ends_on")
    sentences = [f"{name} is given the role {role}, which {PURPOSES[role]}."]
    if role in VOTING:
        sentences.append(f"From then on {name} fills a step of approvals for {role}.")
    if not facts["enrolled"]:
        sentences.append(
            "They are not enrolled yet. Whoever opens the link that Security issues for it becomes them: vote once you "
            "know who they are, and see that they get the link themselves."
        )
    if until:
        sentences.append(f"Their account ends after {_until(until)}.")
    lines = [
        Line(label="Person", text=name, url=_page(payload)),
        Line(label="Roles", text=_names(facts["after"]), before=_names(facts["before"])),
        Line(label="May from then on", text=_names(facts["may"])),
        Line(label="Enrolled", text=_enrolled(facts)),
    ]
    if until:
        lines.append(Line(label="Last day", text=_until(until), before=_until(facts["ended_on"])))
    return Description(title=f"Give {name} the role {role}", sentences=sentences, lines=lines)


def _grant(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    guarded.grant_role(
        person=_of(payload),
        role=Role(str(payload.parameters["role"])),
        ends_on=_day(payload.parameters),
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


# Second factors that are lost


def _draft_reset(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    person = _person(parameters, hold=hold)
    _working(person, now)
    refuse_unenrolled(person)
    refuse_if_last(person, *VOTING)
    factors = selectors.held_factors(person)
    return _draft(person, person.username, {"roles": list(person.role_names), **factors})


def _describe_reset(payload: Payload) -> Description:
    name, facts = payload.targets[0].label, payload.facts
    return Description(
        title=f"Reset the second factors of {name}",
        sentences=[
            f"All second factors and recovery codes of {name} are removed, and they are signed out everywhere. Their "
            "password stays.",
            "They cannot sign in, act or vote until somebody of Security hands them a link and they have enrolled "
            "anew. Whoever opens that link becomes them: vote once you are sure that it is them who ask.",
        ],
        lines=[
            Line(label="Person", text=name, url=_page(payload)),
            Line(label="Roles", text=_names(facts["roles"])),
            Line(label="Authenticator apps", text="0", before=str(facts["apps"])),
            Line(label="Passkeys", text="0", before=str(facts["passkeys"])),
            Line(label="Recovery codes", text="0", before=str(facts["codes"])),
            Line(label="Single sign-on", text="not linked", before="linked" if facts["is_linked"] else "not linked"),
        ],
    )


def _reset(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    guarded.reset_factors(person=_of(payload), permit=permit, actor=actor, reason=payload.reason, now=now)


# Coming back


def _draft_return(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    person = _person(parameters, hold=hold)
    refuse_working(person, now)
    refuse_past(_day(parameters), now)
    facts: dict[str, JSON] = {
        "roles": list(person.role_names),
        "enrolled": selectors.is_provided(person),
        "active": person.is_active,
        "ended_on": person.ends_on.isoformat() if person.ends_on else None,
    }
    return _draft(person, person.username, facts)


def _describe_return(payload: Payload) -> Description:
    name, facts, until = payload.targets[0].label, payload.facts, payload.parameters.get("ends_on")
    roles = _names(facts["roles"])
    return Description(
        title=f"Let {name} back in",
        sentences=[
            f"{name} may sign in again, with the roles and second factors they had ({roles}).",
            f"Their account ends after {_until(until)}." if until else "Their account has no last day.",
        ],
        lines=[
            Line(label="Person", text=name, url=_page(payload)),
            Line(label="Account", text="active", before="deactivated" if not facts["active"] else "ended"),
            Line(label="Last day", text=_until(until), before=_until(facts["ended_on"])),
            Line(label="Roles", text=roles),
            Line(label="Enrolled", text=_enrolled(facts)),
        ],
    )


def _return(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    guarded.reactivate_person(
        person=_of(payload),
        ends_on=_day(payload.parameters),
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


# Being erased


def _draft_erasure(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    person = _person(parameters, hold=hold)
    refuse_unerasable(person)
    owner = Owner.objects.filter(user_id=person.pk).first()
    facts: dict[str, JSON] = {"roles": list(person.role_names), "keys": held_by(owner, now)[0] if owner else 0}
    return _draft(person, person.ref, facts)  # what would name them is to go


def _describe_erasure(payload: Payload) -> Description:
    name, facts = payload.targets[0].label, payload.facts
    return Description(
        title=f"Erase the personal data of {name}",
        sentences=[
            "Their name and mail address are replaced wherever they are held, and the key of their identities in the "
            "log is destroyed. It cannot be taken back. The log still verifies, and names them by number.",
            "Mail that was sent, files that were exported and backups are out of reach.",
            "Once approved, somebody carries it out on the machine, with manage.py erase_person --request.",
        ],
        lines=[
            Line(label="Person", text=name, url=_page(payload)),
            Line(label="Roles they had", text=_names(facts["roles"])),
            Line(label="Keys they answer for", text=str(facts["keys"])),
        ],
    )


def _erase(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    guarded.erase_person(person=_of(payload), permit=permit, actor=actor, reason=payload.reason, now=now)


_about_people = partial(Operation, askers=(SECURITY,), steps=BOTH, refusals=(AccessError,))
OPERATIONS = (
    _about_people(
        code="role.grant",
        title="Give somebody a role",
        action=Action.ROLE_GRANTED,
        draft=_draft_grant,
        describe=_describe_grant,
        execute=_grant,
    ),
    _about_people(
        code="factors.reset",
        title="Reset somebody's second factors",
        action=Action.FACTOR_RESET,
        draft=_draft_reset,
        describe=_describe_reset,
        execute=_reset,
    ),
    _about_people(
        code="person.reactivate",
        title="Let somebody back in",
        action=Action.PERSON_REACTIVATED,
        draft=_draft_return,
        describe=_describe_return,
        execute=_return,
    ),
    _about_people(
        code="person.erase",
        title="Erase somebody's personal data",
        action=Action.PERSON_ERASED,
        draft=_draft_erasure,
        describe=_describe_erasure,
        execute=_erase,
        at_machine=True,
    ),
)
for operation in OPERATIONS:
    register(operation)
