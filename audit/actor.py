"""Who acts: frozen facts that a door collects once and every event repeats."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from django.http import HttpRequest

PATH_CHARACTERS = 300
TOKEN_LIKE = re.compile(r"[A-Za-z0-9_-]{40,}")  # 240 bits and more; a UUID has 36 characters


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Personal facts of whoever acts. They are sealed beside the event and never stand in the hashed bytes."""

    name: str = field(repr=False)
    mail: str = field(repr=False)
    address: str = field(repr=False)
    agent: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A person, a part of the system, or somebody who has not signed in."""

    kind: Literal["person", "system", "anonymous"]
    id: str  # "user:3", "beat", "worker", "command:import_inventory", "anonymous"
    role: str = ""  # role names joined by "+": "DevOps+Security"
    on_behalf_of: str = ""  # the person whose wish the system carries out: "user:3"
    verified_by: str = ""  # kind and id of the device of the second factor: "totp:5"; empty when there was none
    verified_at: datetime | None = None
    identity: Identity | None = field(default=None, repr=False)
    path: str = ""  # method and path without query string: "POST /keys/"

    @classmethod
    def system(cls, name: str, *, on_behalf_of: str = "") -> "Actor":
        """Return the named part of the system, such as "beat" or "command:verify_audit"."""
        return cls(kind="system", id=name, on_behalf_of=on_behalf_of)


def actor_of(request: HttpRequest) -> Actor:
    """Return what the middleware found out about the sender of this request.

    Raises: RuntimeError when the middleware did not run: a door that cannot say who acts must not act.
    """
    actor = getattr(request, "actor", None)
    if not isinstance(actor, Actor):
        raise RuntimeError(  # noqa: TRY004 - the wiring is wrong, not an argument
            "The request carries no actor: ActorMiddleware is missing or stands too late."
        )
    return actor


def path_of(request: HttpRequest) -> str:
    """Return method and path for `Actor.path`: percent-encoded, cut to 300 characters, without the query string.

    Whatever in the path is long enough to be a token becomes "*": the log keeps what it is given for ever.
    """
    path = TOKEN_LIKE.sub("*", quote(request.path))
    return f"{quote(request.method or '')} {path}"[:PATH_CHARACTERS]


def signed_in(actor: Actor, user: Any) -> Actor:  # noqa: ANN401 - access owns the model; audit must not import it
    """Return the actor as this person, keeping address, agent and path; one query for the roles.

    For the moment of sign-in, when the request still carries the anonymous actor it came with.
    """
    device = getattr(user, "otp_device", None)
    known = actor.identity or Identity(name="", mail="", address="", agent="")
    return replace(
        actor,
        kind="person",
        id=user.ref,
        role=user.role,
        verified_by=device.ref if device else "",
        identity=replace(known, name=user.get_full_name(), mail=user.email),
    )
