#!/usr/bin/env python
"""Every command of the house. `up` runs before Django is set up, because it makes what the settings read."""

import os
import sys

_MIGRATOR_COMMANDS = {"migrate", "makemigrations", "sqlmigrate", "showmigrations"}


def main(argv: list[str]) -> int | str:
    """Run one command; return its exit code, or the sentence to end with."""
    command = argv[1] if len(argv) > 1 else "help"
    if command == "up":
        from keyvault_admin.local.supervisor import main as up

        return up(argv[2:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_admin.settings")
    os.environ.setdefault("KEYVAULT_ROLE", "migrator" if command in _MIGRATOR_COMMANDS else "command")
    return _manage(argv)


def _manage(argv: list[str]) -> int | str:
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError, ProgrammingError
    from psycopg.errors import UndefinedColumn, UndefinedTable

    try:
        execute_from_command_line(argv)
    except ImproperlyConfigured as error:
        return f"{error}{_local_hint()}"
    except OperationalError as error:
        if "onnection refused" not in str(error):
            raise
        return _unreachable()
    except ProgrammingError as error:
        if not isinstance(error.__cause__, UndefinedColumn | UndefinedTable):
            raise
        return "The database lacks tables or columns of this version. Bring it up to date with: manage.py migrate"
    return 0


def _local_hint() -> str:
    if os.environ.get("DATABASE_URL") or os.environ.get("SECRET_KEY"):
        return ""
    return " For a trial on this machine, start the embedded engines with: manage.py up"


def _unreachable() -> str:
    from django.conf import settings

    if settings.IS_LOCAL:
        return "The embedded engines are not running. Start them with: manage.py up --engines"
    host, port = (settings.DATABASES["default"].get(name) for name in ("HOST", "PORT"))
    return f"PostgreSQL does not answer at {host}:{port}. Check DATABASE_URL, and that the server runs."


if __name__ == "__main__":
    sys.exit(main(sys.argv))
