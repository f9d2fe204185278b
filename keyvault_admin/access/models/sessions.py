"""Where people are signed in: a row beside each session of Django's, and dead with it."""

import json
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models

from audit.actor import Identity
from audit.sealing import EPOCH_BYTES, keyed_digest, seal, unseal
from keyvault_admin.access.models.people import User

ORIGIN_CONTEXT = "session:user:{}"  # where a sealed origin opens
STORED_CHARACTERS = 40  # 160 bits in hexadecimal: what the column of Django's sessions holds


def stored_key(session_key: str) -> str:
    """Return what the database keeps for the key that a browser holds: a keyed digest.

    Whoever reads the tables, or a dump of them, finds no key in them that would open a session.
    """
    return keyed_digest(session_key.encode(), label="session")[EPOCH_BYTES:].hex()[:STORED_CHARACTERS]


class Ending(StrEnum):
    """Why a session is over, as the address of the sign-in page says it."""

    IDLE = "idle"
    TOO_LONG = "too-long"
    CLOCK = "clock"
    CODES = "codes"
    ENDED = "ended"  # its row is gone: from another place, or by a change that ends sessions


class PersonSession(models.Model):
    """One browser in which a person is signed in.

    The database removes the row with its session, whoever deletes that; without the row a session counts for nothing.
    """

    session = models.OneToOneField(Session, models.DO_NOTHING, db_constraint=False, related_name="+")
    person = models.ForeignKey(User, models.PROTECT, related_name="sessions")
    opened_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()  # written at most once in settings.SESSION_SEEN_EVERY
    verified_by = models.CharField(max_length=100, blank=True)  # the device of the latest check: "totp:5"
    wrong_codes = models.PositiveSmallIntegerField(default=0)  # at step-up, since the last right one
    sealed_origin = models.BinaryField()  # audit.sealing, context "session:user:<pk>": address and agent, as JSON

    class Meta:
        db_table = "access_session"
        default_permissions = ()
        ordering = ["-last_seen_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                name="access_session_seen_after_opening",
                condition=models.Q(last_seen_at__gte=models.F("opened_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"session:{self.pk}"

    def over(self, now: datetime) -> Ending | None:
        """Return why the session is over, None while it lives.

        A session that was last seen in the future is over: the clock was set back, and how long nobody clicked cannot
        be told any more.
        """
        if self.last_seen_at > now + settings.CLOCK_SKEW:
            return Ending.CLOCK
        if now - self.opened_at >= settings.SESSION_ABSOLUTE:
            return Ending.TOO_LONG
        return Ending.IDLE if now - self.last_seen_at >= settings.SESSION_IDLE else None

    def is_to_be_seen(self, now: datetime) -> bool:
        """Whether it is time to write down that somebody clicked."""
        seen_every: timedelta = settings.SESSION_SEEN_EVERY
        return now - self.last_seen_at >= seen_every

    def seal_origin(self, identity: Identity | None) -> None:
        """Keep from where and with what the session was opened; the caller saves."""
        known = {"address": identity.address, "agent": identity.agent} if identity else {}
        self.sealed_origin = seal(json.dumps(known).encode(), context=self._context)

    def origin(self) -> tuple[str, str]:
        """Open the address and the agent; "" for what is not known."""
        known = json.loads(unseal(bytes(self.sealed_origin), context=self._context))
        return known.get("address", ""), known.get("agent", "")

    @property
    def _context(self) -> str:
        return ORIGIN_CONTEXT.format(self.person_id)
