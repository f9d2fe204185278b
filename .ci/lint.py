"""Every static check, two at a time; the output of those that fail, and a line for each. Needs no database."""

import base64
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
PACKAGES = ("audit", "inventory", "rotation", "keyvault_admin")

# An installation that exists nowhere: what the settings ask for, and nobody answers at its addresses.
INSTALLATION = {
    "SECRET_KEY": secrets.token_urlsafe(48),
    "KEYVAULT_SEALING_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
    "KEYVAULT_DIGEST_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
    "DATABASE_URL": "postgres://keyvault_web:a-password-of-nobody@127.0.0.1:1/none",
    "CELERY_BROKER_URL": "redis://:a-password-of-nobody@127.0.0.1:1/0",
    "ALLOWED_HOSTS": "keyvault.example",
    "CSRF_TRUSTED_ORIGINS": "https://keyvault.example",
    "SITE_URL": "https://keyvault.example",
    "TRUSTED_PROXIES": "1",
    "DEFAULT_FROM_EMAIL": "keyvault@keyvault.example",
    "KEYVAULT_LOCAL_ENV": os.devnull,
}
# makemigrations compares the files with the models; that it cannot look at a database is no news here.
UNREACHABLE = "ignore:Got an error checking a consistent migration history:RuntimeWarning"


class Check(NamedTuple):
    title: str
    command: Sequence[str | Path]


def checks() -> tuple[Check, ...]:
    """Return the checks, the longest first."""
    templates = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "templates").rglob("*.html"))
    manage = [BIN / "python", "-W", UNREACHABLE, "manage.py"]
    return (
        Check("types: mypy", [BIN / "mypy", *PACKAGES, "manage.py"]),
        Check("templates: djlint", [BIN / "djlint", "--lint", "--quiet", "templates"]),
        Check("templates: djade", [BIN / "djade", "--check", "--target-version", "5.2", *templates]),
        Check("layers: import-linter", [BIN / "lint-imports", "--no-cache"]),
        Check("migrations are complete", [*manage, "makemigrations", "--check", "--dry-run"]),
        Check("deployment: check --deploy", [*manage, "check", "--deploy", "--fail-level", "WARNING"]),
        Check("style: ruff check", [BIN / "ruff", "check", "--quiet", "."]),
        Check("format: ruff format", [BIN / "ruff", "format", "--check", "--quiet", "."]),
        Check(
            "compose file: its schema",
            [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        ),
        Check("image: hadolint", [BIN / "hadolint", "Dockerfile"]),
    )


def run(check: Check) -> bool:
    """Run one check, print its line, and its output when it fails; return whether it passed."""
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603 - the commands above
        [str(part) for part in check.command],
        cwd=ROOT,
        env={**{name: text for name, text in os.environ.items() if name != "KEYVAULT_ROLE"}, **INSTALLATION},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    passed = done.returncode == 0
    line = f"{'ok  ' if passed else 'FAIL'}  {check.title} ({time.monotonic() - began:.1f} s)\n"
    sys.stdout.write(line if passed else f"{line}{done.stdout}\n")
    sys.stdout.flush()
    return passed


def main() -> int:
    with ThreadPoolExecutor(max_workers=2) as pool:
        return 0 if all(list(pool.map(run, checks()))) else 1


if __name__ == "__main__":
    sys.exit(main())
