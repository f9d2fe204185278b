"""LEAK-01 … 04: secrets of the run are looked for, after each test, wherever they must not be. A pytest plugin.

Known for the whole run: sealing key, digest key, secret key, passwords of the login roles, of the superuser and of the
broker, the pass phrase of the tests' people. Known while they are fresh: seeds of authenticator apps, the session key
and the CSRF secret of every sign-in, and whatever a test hands to `know`: private keys, enrolment tokens, tokens that
were looked up. A one-time code is too short to be told from chance in so much text: it is looked for as a whole value,
wherever values are, by a journey of its own in tests/test_canaries.py.

Sinks: what a test wrote to standard output, standard error and the log; mails; every table of each database that a test
committed to (audit bodies among them); at the end the logs of every process that a test launched, those of PostgreSQL
and Valkey, all that lies in Valkey (messages of tasks among it), and the command lines of the running processes.

A find fails the run and names the secret and the sink, never the secret itself. Each worker of xdist looks by itself.
"""

import base64
import json
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit

import psycopg
import pytest
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.engines import run_values

FRESH = 300  # seeds, session keys and the like that are remembered
WORD = re.compile(r"[^\s\"'{}\[\](),;=&?<>]+")  # what stands by itself; a time with its fractions is one word
SHORTEST = 12  # bytes; less is found by chance
LARGEST_LOG = 50_000_000
_fixed: dict[str, dict[str, bytes]] = {}
_fresh: "OrderedDict[tuple[str, bytes], dict[str, bytes]]" = OrderedDict()
_leaks: list[str] = []


def forms(secret: bytes) -> dict[str, bytes]:
    """Return how a secret may look: raw, hexadecimal, base64 wherever it begins, URL-encoded, and backwards."""
    found = {"raw": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    found |= {"backwards": secret[::-1], "hex backwards": secret[::-1].hex().encode()}
    for shift in range(3):
        plain = base64.b64encode(b"\0" * shift + secret)
        first, last = -(-shift * 8 // 6), len(secret) + shift
        whole = plain[first : last * 8 // 6]
        found[f"base64 +{shift}"] = whole
        found[f"base64url +{shift}"] = whole.translate(bytes.maketrans(b"+/", b"-_"))
    found["URL-encoded"] = quote(secret, safe="").encode()
    found["form-encoded"] = quote_plus(secret, safe="").encode()
    return found


def know(what: str, secret: str | bytes) -> None:
    """Look for this one too, from now on."""
    raw = secret.encode() if isinstance(secret, str) else bytes(secret)
    if len(raw) < SHORTEST:
        raise ValueError("Too short to be told from chance.")
    _fresh[what, raw] = forms(raw)
    while len(_fresh) > FRESH:
        _fresh.popitem(last=False)


def hits(sink: str, seen: bytes) -> list[str]:
    """Return what is found in these bytes, in words that hold nothing of it."""
    named = list(_fixed.items())
    named += [(what, shapes) for (what, _), shapes in _fresh.items()]
    return [f"{what} ({shape}) in {sink}" for what, shapes in named for shape, text in shapes.items() if text in seen]


def look(sink: str, seen: bytes | str) -> None:
    """Look for every known secret; a find fails the run at its end."""
    _leaks.extend(hits(sink, seen.encode(errors="replace") if isinstance(seen, str) else seen))


def tables(database: str) -> Iterator[tuple[str, bytes]]:
    """Return every table of a database as text, bytes in hexadecimal."""
    with psycopg.connect(make_conninfo(os.environ["KEYVAULT_TEST_SUPERUSER"], dbname=database)) as connection:
        names = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, name in names:
            copy = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(schema, name))
            with connection.cursor() as cursor, cursor.copy(copy) as rows:
                yield f"table {name}", b"".join(bytes(row) for row in rows)


def look_into(database: str) -> None:
    for name, content in tables(database):
        look(name, content)


def values(database: str) -> Iterator[tuple[str, str]]:
    """Return every single value that a database holds, with its column: of JSON and of sessions each leaf by itself."""
    from django.contrib.sessions.backends.db import SessionStore

    with psycopg.connect(make_conninfo(os.environ["KEYVAULT_TEST_SUPERUSER"], dbname=database)) as connection:
        columns = connection.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_schema, table_name)"
            " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table, column in columns:
            asked = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier(schema, table))
            for (value,) in connection.execute(asked).fetchall():
                read = SessionStore().decode(value) if column == "session_data" else value
                yield from ((f"{table}.{column}", leaf) for leaf in leaves(read))


def leaves(value: object) -> Iterator[str]:
    """Return the single values inside of one: of JSON its names and leaves, of other text its words."""
    if isinstance(value, dict):
        yield from (leaf for pair in value.items() for part in pair for leaf in leaves(part))
    elif isinstance(value, list | tuple):
        yield from (leaf for part in value for leaf in leaves(part))
    elif isinstance(value, bytes | memoryview):
        yield from leaves(bytes(value).decode("utf-8", "replace"))
    elif isinstance(value, str) and value.startswith(("{", "[")):
        try:
            yield from leaves(json.loads(value))
        except ValueError:
            yield from WORD.findall(value)
    elif value is not None:
        yield from WORD.findall(str(value))


def valkey() -> Iterator[bytes]:
    """Return every key of the broker with what it holds, as Valkey writes it to a file."""
    with redis.Redis.from_url(run_values()["CELERY_BROKER_URL"]) as broker:
        for key in broker.scan_iter():
            yield key + b"\0" + (broker.dump(key) or b"")


def command_lines() -> Iterator[tuple[str, bytes]]:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield f"the command line of process {place.parent.name}", place.read_bytes()
        except OSError:  # it has ended
            continue


# The plugin


def learn() -> None:
    """Learn the secrets of the run from its own file, and the fresh ones as they are stored."""
    values = run_values()
    secrets = {"SECRET_KEY": values["SECRET_KEY"].encode()}
    for name in ("KEYVAULT_SEALING_KEY", "KEYVAULT_DIGEST_KEY"):
        secrets[name] = base64.b64decode(values[name])
        secrets[f"{name} as given"] = values[name].encode()
    for name, url in values.items():
        if name.startswith("DATABASE_URL_") or name == "CELERY_BROKER_URL":
            secrets[f"password in {name}"] = unquote(urlsplit(url).password or "").encode()
    superuser = psycopg.conninfo.conninfo_to_dict(os.environ["KEYVAULT_TEST_SUPERUSER"])
    secrets["password of the superuser"] = str(superuser["password"]).encode()
    secrets["pass phrase of the tests' people"] = b"a long pass phrase for tests"
    _fixed.update({what: forms(secret) for what, secret in secrets.items()})


def watch() -> None:
    """Learn seeds when their rows are stored; a session key is told by whoever signs in."""
    from django.db.models.signals import post_save

    from keyvault_admin.access.models import TotpDevice

    post_save.connect(_learn_seed, sender=TotpDevice, dispatch_uid="canaries")


def _learn_seed(instance, **_signal: object) -> None:
    if instance.sealed_seed:  # one that is removed has none
        know("seed", instance.seed())


def pytest_sessionstart(session: pytest.Session) -> None:
    if _looks(session.config):
        learn()
        watch()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    from django.core import mail

    for message in getattr(mail, "outbox", ()):
        look(f"a mail of {item.nodeid}", message.message().as_bytes() + message.subject.encode())


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":  # the last report of a test holds what the others held
        for name, text in report.sections:
            look(f"{name} of {report.nodeid}", text)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not _looks(session.config) or not _fixed:
        _end(session)
        return
    for number, held in enumerate(valkey()):
        look(f"Valkey, key {number}", held)
    for sink, line in command_lines():
        look(sink, line)
    for log in _logs(session.config):
        look(f"the log {log.name}", log.read_bytes())
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["leaks"] = sorted(set(_leaks))
    _end(session)


def _logs(config: pytest.Config) -> list[Path]:
    """Return the logs of the engines and of everything that tests have launched with their output in a file."""
    folders = [Path(os.environ["KEYVAULT_LOCAL_ENV"]).parent]
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is not None:
        folders.append(factory.getbasetemp())
    found = [path for folder in folders for path in folder.rglob("*log") if path.is_file()]
    return [path for path in found if path.stat().st_size <= LARGEST_LOG and "engines" not in path.parts]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take over, from a worker of xdist that ends, what it has found."""
    _leaks.extend(getattr(node, "workeroutput", {}).get("leaks", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _leaks:
        terminalreporter.section("secrets where they must not be", red=True)
        for leak in sorted(set(_leaks)):
            terminalreporter.line(leak)


def _looks(config: pytest.Config) -> bool:
    """Whether tests run in this process: in every worker, and in the first process only without workers."""
    return hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None)


def _end(session: pytest.Session) -> None:
    if _leaks and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
