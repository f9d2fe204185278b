"""An operation upon nothing real, and requests for it as rows (request_world), for tests of what reads them."""

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.utils import timezone

from audit.actions import Action
from audit.actor import Actor
from inventory.errors import InventoryError
from rotation import approvals
from rotation.operations.base import Description, Draft, Line, Operation, Step, Target
from tests.rotation import request_world
from tests.rotation.approval_world import declared
from tests.rotation.request_world import payload_for

THING = "test.thing"


@dataclass
class World:
    """Things that have a number and a revision, and what was done to them."""

    revisions: dict = field(default_factory=lambda: defaultdict(lambda: 1))
    done: list = field(default_factory=list)
    refuses: str = ""
    breaks: bool = False

    def target(self, number):
        return Target(ref=f"thing:{number}", label=f"thing {number}", revision=self.revisions[number])

    def draft(self, parameters, *, now, hold):
        if self.refuses:
            raise InventoryError(self.refuses)
        return Draft(targets=[self.target(number) for number in numbers_in(parameters)])

    def execute(self, payload, permit, actor, now):
        if self.breaks:
            raise InventoryError("The paint ran out.")
        self.done.append((payload, permit))


def numbers_in(parameters):
    return parameters.get("numbers") or [parameters["number"]]


def describe(payload):
    facts = payload.facts
    colour = facts.get("colour", "blue")
    return Description(
        title=f"Turn {payload.targets[0].label} into {colour}",
        sentences=[
            f"It will be {facts.get('colour', 'blue')} for {facts.get('days', 3)} days.",
            "Two services see it.",
        ],
        lines=[
            Line(label="Colour", text=colour, before=facts.get("before", "red")),
            Line(label="Ticket", text="the ticket", url=facts.get("url", "https://example.org/4711")),
            Line(label="Used by", text=facts.get("consumers", "crm-sync, data-warehouse")),
        ],
    )


@contextmanager
def thing():
    """Declare the operation, and give what it acts upon."""
    world = World()
    declaration = Operation(
        code=THING,
        title="Paint a thing",
        action=Action.KEY_EDITED,
        askers=("Security", "DevOps"),
        steps=(Step("Security"), Step("DevOps")),
        draft=world.draft,
        describe=describe,
        execute=world.execute,
    )
    with declared(declaration):
        yield world


def execute(request, as_role):
    """Carry it out as the worker does."""
    with as_role("worker"):
        return approvals.carry_out(pk=request.pk, actor=Actor.system("worker"), now=timezone.now())


def asked(operation, person, *, title=None, world=None, number=7, **said):
    """Write down a request of a person; in a world, to paint the thing of that number."""
    if world is not None:
        parameters = said.setdefault("parameters", {"number": number})
        said = {"targets": tuple(map(world.target, numbers_in(parameters)))} | said
    if operation == THING and title is None:
        title = describe(payload_for(operation, person, **said)).title
    return request_world.asked(operation, person, title=title or "Do a thing", **said)
