"""Django's sessions in the database, under a digest of their key instead of the key itself."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import transaction
from django.utils import timezone

from keyvault_admin.access.models import PersonSession
from keyvault_admin.access.models.sessions import stored_key


class SessionStore(db.SessionStore):
    """Finds a session by the digest of the key that the browser shows.

    The asynchronous half of Django's store is not changed: it would look for the key itself and find nothing.
    """

    def _get_session_from_db(self) -> AbstractBaseSession | None:
        stored = stored_key(self.session_key or "")
        found = self.model.objects.filter(session_key=stored, expire_date__gt=timezone.now()).first()
        if found is None:
            self._session_key = None
        return found

    def exists(self, session_key: str) -> bool:
        return super().exists(stored_key(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        made = super().create_model_instance(data)
        made.session_key = stored_key(made.session_key)
        return made

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key:
            super().delete(stored_key(key))

    def cycle_key(self) -> None:
        """Give the session another id; the row of the person goes along, which the deletion would take with it."""
        before = self.session_key
        with transaction.atomic():
            kept = self._session  # type: ignore[attr-defined]
            self.create()
            self._session_cache = kept
            if before and self.session_key:
                PersonSession.objects.filter(session_id=stored_key(before)).update(
                    session_id=stored_key(self.session_key)
                )
                self.delete(before)
