"""Both engines of one `var` folder: locked, started together, written down in `local.env` for every other process."""

import base64
import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote, urlsplit

from keyvault_admin.local.children import CHECKPOINTS, MASTER_KEY, RING, SIGNING_KEY
from keyvault_admin.local.engine import HOST, Engine, choose_port, is_free
from keyvault_admin.local.errors import LocalError
from keyvault_admin.local.places import settle
from keyvault_admin.local.postgres import Postgres
from keyvault_admin.local.valkey import Valkey

DATABASE = "keyvault"
DEFAULT_SITE = "http://localhost:8000"
LOGINS = ("migrator", "web", "worker", "beat", "signer", "command")


def read_env(path: Path) -> dict[str, str]:
    """Return the NAME=value lines of a file, and nothing when there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def write_env(path: Path, values: dict[str, str]) -> None:
    """Replace PATH by these lines at once; only its owner can read them."""
    head = "# Written by the embedded engines at each start. Secrets of this machine only: keep it to yourself.\n"
    write_secret(path, head + "".join(f"{name}={value}\n" for name, value in values.items()))


def write_secret(path: Path, text: str) -> None:
    """Replace PATH by this text at once; only its owner can read it."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
    draft.replace(path)


def database_url(login: str, password: str, port: int, database: str) -> str:
    return f"postgres://keyvault_{login}:{password}@{HOST}:{port}/{database}"


class Engines:
    """The engines of one folder, from `with` to its end; SITE_PORT is where the web process will listen, if at all.

    Every secret is made once and kept in `local.env`; the superuser's password stays beside the data, in a file that no
    process of the application reads.
    """

    def __init__(
        self, var: Path, *, database: str = DATABASE, durable: bool = True, site_port: int | None = None
    ) -> None:
        self.var = var
        self.database = database
        self._durable = durable
        self._site_port = site_port
        self._lock: IO[str] | None = None
        self._started: list[Engine] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def all(self) -> tuple[Engine, ...]:
        return tuple(self._started)

    def start(self) -> None:
        """Start both, make the database and its roles, and write `local.env`.

        Raises: LocalError when another process runs these engines, or when one does not start.
        """
        self.var.mkdir(parents=True, exist_ok=True)
        site = f"http://localhost:{self._site_port}" if self._site_port else "engines only"
        self._lock = _lock(self.var / "lock", site)
        if self._site_port and not is_free(self._site_port):
            raise LocalError(f"Port {self._site_port} is taken by another program. Choose another one with --port.")
        self.places = settle(self.var)
        known = read_env(self.places.local_env)
        self._start_valkey(known)
        self._start_postgres(known)
        self.values = known | self._addresses(known)
        self.postgres.ensure_database(
            self.database,
            {f"keyvault_{login}": _secret_in(self.values[f"DATABASE_URL_{login.upper()}"]) for login in LOGINS},
        )
        write_env(self.places.local_env, self.values)
        self._make_signing()
        self._make_key_store()

    @property
    def signing(self) -> Path:
        """The folder of the signing key and of the checkpoints under it; it comes and goes with the data."""
        return self.places.engines / "signing"

    def _make_signing(self) -> None:
        """Make the key in a file of its own, which no process but the signer is told of."""
        (self.signing / CHECKPOINTS).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.signing.chmod(0o700)
        path = self.signing / SIGNING_KEY
        if not path.exists():
            write_secret(path, f"{_key()}\n")

    @property
    def keys(self) -> Path:
        """The folder of the master key and of the key ring under it; it comes and goes with the data, too."""
        return self.places.engines / "keys"

    def _make_key_store(self) -> None:
        """Make the key in a file that the worker alone is told of, and the folder of the ring, which it fills."""
        for folder in (self.keys, self.keys / RING):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        path = self.keys / MASTER_KEY
        if not path.exists():
            write_secret(path, f"{_key()}\n")

    def _start_valkey(self, known: dict[str, str]) -> None:
        url = known.get("CELERY_BROKER_URL", "")
        self.valkey = Valkey(self.places, port=choose_port(urlsplit(url).port), password=_secret_in(url))
        self._started.append(self.valkey)
        self.valkey.start()

    def _start_postgres(self, known: dict[str, str]) -> None:
        port = choose_port(urlsplit(known.get("DATABASE_URL_WEB", "")).port)
        password = self._superuser_password()
        self.postgres = Postgres(self.places, port=port, password=password, durable=self._durable)
        self._started.append(self.postgres)
        self.postgres.start()

    def _superuser_password(self) -> str:
        path = self.places.engines / "superuser.env"  # it comes and goes with the data
        values = read_env(path)
        if "PASSWORD" not in values:
            values["PASSWORD"] = secrets.token_urlsafe(32)
            write_env(path, values)
        return values["PASSWORD"]

    def _addresses(self, known: dict[str, str]) -> dict[str, str]:
        """Return the lines of `local.env`: what is known stays, but for ports and addresses."""
        site = f"http://localhost:{self._site_port}" if self._site_port else known.get("SITE_URL", DEFAULT_SITE)
        urls = {f"DATABASE_URL_{login.upper()}": login for login in LOGINS}
        earlier_keys = ("KEYVAULT_SEALING_KEYS_PREVIOUS", "KEYVAULT_DIGEST_KEYS_PREVIOUS")
        return (
            {name: known[name] for name in earlier_keys if known.get(name)}
            | {
                "SECRET_KEY": known.get("SECRET_KEY") or secrets.token_urlsafe(50),
                "KEYVAULT_SEALING_KEY": known.get("KEYVAULT_SEALING_KEY") or _key(),
                "KEYVAULT_DIGEST_KEY": known.get("KEYVAULT_DIGEST_KEY") or _key(),
                "KEYVAULT_PLAIN_HTTP": "true",
                "ALLOWED_HOSTS": f"localhost,{HOST}",
                "SITE_URL": site,
                "CSRF_TRUSTED_ORIGINS": site,
                "EMAIL_URL": f"filemail:///{quote(str(self.places.var / 'mail'))}",
                "STATIC_ROOT": str(self.places.var / "static"),
                "CELERY_BROKER_URL": f"redis://:{self.valkey.password}@{HOST}:{self.valkey.port}/0",
            }
            | {
                name: database_url(login, _secret_in(known.get(name, "")), self.postgres.port, self.database)
                for name, login in urls.items()
            }
        )

    def stop(self) -> None:
        """Stop both, PostgreSQL last, and let the next start have the folder."""
        while self._started:
            self._started.pop(0).stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _secret_in(url: str) -> str:
    """Return the password of a URL that an earlier start wrote, or a new one."""
    return urlsplit(url).password or secrets.token_urlsafe(32)


def _lock(path: Path, place: str) -> IO[str]:
    """Take the lock of the folder; it goes with the process, whatever ends it."""
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise LocalError(f"Already running: {holder}. Stop it there first (Ctrl-C), or use it as it is.") from error
    file.truncate(0)
    file.write(f"process {os.getpid()}, {place}\n")
    file.flush()
    return file
