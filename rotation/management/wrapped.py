"""What the commands about wrapped DEKs share: whose login it is, and which records their words name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import connection
from django.db.models import Q

from audit.errors import AuditError
from inventory.custody import BackendError
from inventory.errors import InventoryError
from inventory.models import Kek, Key, Owner, Service
from inventory.terms import Classification, Environment, KeyKind
from rotation.errors import RotationError


def need_worker() -> None:
    """Refuse every login but the worker's: it alone writes wrapped bytes, and holds the master key.

    Raises: CommandError.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user")
        (login,) = cursor.fetchone()
    if login != "keyvault_worker":
        raise CommandError("This works with wrapped DEKs, so run it as the worker: KEYVAULT_ROLE=worker.")


@contextmanager
def plainly() -> Iterator[None]:
    """Let rules and key stores say in one sentence why nothing was done."""
    try:
        yield
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from error
    except (InventoryError, RotationError, BackendError, AuditError) as error:
        raise CommandError(str(error)) from error


def kek_of(text: str) -> Kek:
    """Return the KEK of a URI or of a record's name. Raises: CommandError."""
    found = Kek.objects.select_related("key").filter(Q(uri=text) | Q(key__name=text)).first()
    if found is None:
        known = ", ".join(Kek.objects.order_by("uri").values_list("uri", flat=True)[:10]) or "none"
        raise CommandError(f"No KEK is linked as {text}. Linked are: {known}.")
    return found


def dek_of(text: str) -> Key:
    """Return the DEK of a name, or of a number. Raises: CommandError."""
    is_number = Q(pk=int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else Q()  # noqa: PLR2004 - bigint
    by_name = Key.objects.filter(kind=KeyKind.DEK, name=text).first()
    found = by_name or (Key.objects.filter(is_number, kind=KeyKind.DEK).first() if is_number else None)
    if found is None:
        raise CommandError(f"No DEK is called {text}. The list of keys, filtered by kind, shows their names.")
    return found


def service_of(text: str) -> Service:
    found: Service = _found(Service.objects.filter(name=text).first, f"No service is called {text}. Register it first.")
    return found


def add_facts(parser: CommandParser) -> None:
    """Let a command take what is said of each new DEK."""
    parser.add_argument("--owner", default="", help="handle or address of who answers for it")
    parser.add_argument("--service", default="", help="the service that needs it, by its name")
    parser.add_argument("--environment", default="", choices=["", *Environment.values])
    parser.add_argument("--classification", default="", choices=["", *Classification.values])


def facts_in(options: dict[str, Any]) -> dict[str, Any]:
    """Return what add_facts() took, without what was left out. Raises: CommandError."""
    said = {name: options[name] for name in ("environment", "classification") if options[name]}
    if owner := options["owner"]:
        rows = Owner.objects.filter(Q(handle=owner) | Q(mail=owner), is_active=True)
        said["owner"] = _found(rows.first, f"Nobody who answers for keys is called {owner}.")
    if service := options["service"]:
        said["service"] = service_of(service)
    return said


def _found(look: Callable[[], Any], otherwise: str) -> Any:  # noqa: ANN401 - a record
    found = look()
    if found is None:
        raise CommandError(otherwise)
    return found
