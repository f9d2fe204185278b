"""`manage.py up`: engines, migrations and the four processes of the application, in the foreground of one terminal."""

import argparse
import contextlib
import hashlib
import http.client
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import psycopg

from keyvault_admin.local.children import Child, EngineWard, Recipe, Ward, application, named_stores, worker_environ
from keyvault_admin.local.engine import HOST
from keyvault_admin.local.engines import Engines
from keyvault_admin.local.errors import LocalError

ROOT = Path(__file__).resolve().parent.parent.parent
_INSTALLATION = ("DATABASE_URL", "DATABASE_URL_FILE", "SECRET_KEY", "SECRET_KEY_FILE")
_TURN_SECONDS = 0.2
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str]) -> int:
    """Run `up`; return its exit code: 0 when a person ended it, 1 when something did not start or stay."""
    options = _parser().parse_args(argv)
    for signum in _ENDINGS:
        signal.signal(signum, _interrupt)
    os.environ.pop("KEYVAULT_ROLE", None)  # each process gets its own
    try:
        _run(options)
    except LocalError as error:
        _say(str(error), error=True)
        return 1
    except KeyboardInterrupt:
        _say("Stopped.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="manage.py up",
        description="Run Keyvault Admin on this machine: embedded PostgreSQL and Valkey, web, worker, signer and beat.",
        epilog="Ctrl-C stops everything. Data and secrets stay in the var folder.",
    )
    parser.add_argument("--port", type=int, default=8000, help="port of the web server on 127.0.0.1 (default: 8000)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--engines", action="store_true", help="start the engines only, for other manage.py commands")
    only.add_argument("--demo", action="store_true", help="load the demo inventory first when there is nobody yet")
    return parser


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    """End the run once; a second Ctrl-C does not disturb the order of the stop, which takes less than ten seconds."""
    for signum in _ENDINGS:
        signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(text: str, *, error: bool = False) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone before us; the order of the stop matters more
        print(text, file=sys.stderr if error else sys.stdout, flush=True)


def _run(options: argparse.Namespace) -> None:
    _refuse_installation()
    with Engines(_var(), site_port=None if options.engines else options.port) as engines:
        _say(f"PostgreSQL on {HOST}:{engines.postgres.port}, Valkey on {HOST}:{engines.valkey.port}.")
        if options.engines:
            _say("The engines run until Ctrl-C; any manage.py command in another terminal finds them.")
            _watch([EngineWard(engine) for engine in engines.all], [])
        else:
            _serve(engines, options)


def _refuse_installation() -> None:
    for name in _INSTALLATION:
        if os.environ.get(name):
            raise LocalError(
                f"{name} is set: this installation has its own engines, and `up` is for a machine without any. "
                f"Unset {name}, or start web, worker, signer and beat as docker-compose.yml does."
            )


def _var() -> Path:
    named = os.environ.get("KEYVAULT_LOCAL_ENV")
    return Path(named).resolve().parent if named else ROOT / "var"


def _serve(engines: Engines, options: argparse.Namespace) -> None:
    _once("migrate", "migrate", "--verbosity=1")
    _collect_static(engines.places.var)
    story = _seed(engines) if options.demo else ""
    recipes = application(options.port, engines.places.var, engines.signing, engines.keys)
    children = [Child(recipe, cwd=ROOT, show=_say) for recipe in recipes]
    try:
        for child in children:
            child.begin()
        wards: list[Ward] = [*(EngineWard(engine) for engine in engines.all), *children]
        _watch(wards, children, greeting=_Greeting(options.port, story))
    finally:
        for child in children:
            child.stop()


def _once(name: str, *command: str, show: Callable[[str], None] = _say, env: Mapping[str, str] | None = None) -> None:
    """Run one manage.py command to its end, showing its lines."""
    recipe = Recipe(name=name, argv=[sys.executable, "manage.py", *command], env=env or {})
    child = Child(recipe, cwd=ROOT, show=show)
    child.begin()
    try:
        while child.is_readable:
            _pump([child])
    finally:
        child.stop()
    if child.exit_code() != 0:
        raise LocalError(f"`manage.py {command[0]}` did not succeed; its reason stands above.")


def _collect_static(var: Path) -> None:
    """Collect static files when a source of theirs has changed since the last time."""
    stamp, state = var / "static.stamp", _static_state()
    collected = (var / "static" / "staticfiles.json").exists() and stamp.exists()
    if collected and stamp.read_text(encoding="utf-8") == state:
        return
    _once("static", "collectstatic", "--noinput", "--verbosity=1")
    stamp.write_text(state, encoding="utf-8")


def _static_state() -> str:
    found = hashlib.sha256((ROOT / "uv.lock").read_bytes())
    for path in sorted((ROOT / "static").rglob("*")):
        facts = path.stat()
        found.update(f"{path} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return found.hexdigest()


def _seed(engines: Engines) -> str:
    """Load the demo into a database in which nobody exists yet; return what it printed."""
    with psycopg.connect(engines.values["DATABASE_URL_COMMAND"]) as connection:
        somebody = connection.execute("SELECT FROM access_user LIMIT 1").fetchone()
    if somebody is not None:
        return "The demo is loaded already; the next code of a person: manage.py demo_code NAME"
    _say("Loading the demo inventory ...")
    lines: list[str] = []
    try:
        _once("demo", "seed_demo", show=lines.append, env=named_stores(engines.keys))
        _make_keys(engines)
    except LocalError:
        _say("\n".join(lines))
        raise
    return "\n".join(line.partition(" | ")[2] for line in lines)


def _make_keys(engines: Engines) -> None:
    """Let people of the demo decide and its worker act, twice: a KEK with DEKs, then its rotation."""
    people = {"KEYVAULT_ROLE": "web", **named_stores(engines.keys)}
    for turn in (people, worker_environ(engines.keys)) * 2:
        _once("demo", "seed_demo_keys", env=turn)


class _Greeting:
    """What is printed once, when the site answers."""

    def __init__(self, port: int, story: str) -> None:
        self._port = port
        self._story = story
        self._due = True
        self._asked_at = 0.0

    def try_once(self) -> None:
        """Ask once a second until the site is ready, and say so."""
        if not self._due or time.monotonic() - self._asked_at < 1:
            return
        self._asked_at = time.monotonic()
        if _is_ready(self._port):
            self._due = False
            _say("\n".join(filter(None, ["", self._story, f"Keyvault Admin is ready: http://localhost:{self._port}"])))
            _say("Ctrl-C stops it.\n")


def _is_ready(port: int) -> bool:
    """Ask /-/ready, briefly: the turn of the loop waits for the answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/-/ready", headers={"Host": "localhost"})
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _watch(wards: Sequence[Ward], children: Sequence[Child], greeting: _Greeting | None = None) -> None:
    """Pass on lines and bring back the dead until a signal ends it.

    One thread does all: the kernel ties a child to the thread that started it (see processes.lifeline).
    """
    while True:
        _pump(children)
        for ward in wards:
            ward.tend(_say)
        if greeting is not None:
            greeting.try_once()


def _pump(children: Sequence[Child]) -> None:
    """Wait one turn at most for lines of the children and pass them on."""
    with selectors.DefaultSelector() as selector:
        for child in children:
            if child.is_readable:
                selector.register(child, selectors.EVENT_READ, child)
        if not selector.get_map():
            time.sleep(_TURN_SECONDS)
        for key, _events in selector.select(timeout=_TURN_SECONDS):
            key.data.pump()
