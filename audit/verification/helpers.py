"""Processes that check sections: one a core, each with a connection of its own, all in one snapshot.

A connection cannot be shared and a process of Celery may not fork freely, so a helper is a program of its own:
`manage.py verify_sections`. It reads lines of JSON from its standard input and answers each with one line: first where
the database is and which snapshot to take, then sections. What it is told never stands in its arguments.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import IO, Any

from django.conf import settings
from django.db import connection, connections

from audit.errors import AuditError
from audit.verification import reading, sections
from audit.verification.sections import Checked, Section

DATABASE = ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
Checking = Callable[[Iterable[Section]], Iterator[Checked]]


class HelperError(AuditError):
    """A helper did not answer; what it said of it is on standard error."""


@contextmanager
def checking(jobs: int) -> Iterator[Checking]:
    """Give a function that checks sections, in this process or in that many others; results come in order.

    Inside the snapshot that they are to share.
    """
    if jobs == 1:
        keys = reading.IdentityKeys()
        yield lambda asked: (sections.check(section, keys) for section in asked)
        return
    if len(connection.savepoint_ids) or not connection.in_atomic_block:
        raise HelperError("Other processes cannot see what a transaction has not committed: verify with jobs=1 there.")
    shared = reading.exported_snapshot()
    with ExitStack() as started, ThreadPoolExecutor(jobs) as threads:
        idle: SimpleQueue[_Helper] = SimpleQueue()
        for _ in range(jobs):
            idle.put(started.enter_context(_helper(shared)))

        def ask(section: Section) -> Checked:
            helper = idle.get()
            try:
                return helper.check(section)
            finally:
                idle.put(helper)

        yield lambda asked: threads.map(ask, asked)


class _Helper:
    """One process, seen from outside."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def check(self, section: Section) -> Checked:
        return sections.checked_from(self.ask(sections.section_to(section)))

    def ask(self, said: dict[str, Any]) -> dict[str, Any]:
        """Send a line and return the answer to it. Raises: HelperError."""
        there, back = self._process.stdin, self._process.stdout
        if there is None or back is None:
            raise HelperError("A helper of the verification has no pipe.")
        try:
            there.write(json.dumps(said) + "\n")
            there.flush()
            answer = back.readline()
        except OSError as error:
            raise HelperError(
                "A helper of the verification has ended; its last words are on standard error."
            ) from error
        if not answer:
            raise HelperError("A helper of the verification has ended; its last words are on standard error.")
        return dict(json.loads(answer))


@contextmanager
def _helper(shared: str) -> Iterator[_Helper]:
    process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of ours
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "verify_sections"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"KEYVAULT_ROLE": settings.ROLE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        helper = _Helper(process)
        database = {name: connection.settings_dict[name] for name in DATABASE}
        helper.ask({"database": database, "snapshot": shared})
        yield helper
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()  # it ends when it reads nothing more
        process.terminate()
        process.wait()


def serve(asked: IO[str], answers: IO[str]) -> None:
    """Be a helper, until nothing more is asked."""
    told = json.loads(asked.readline())
    connections.settings["default"] |= told["database"]
    with reading.snapshot(told["snapshot"]):
        keys = reading.IdentityKeys()
        _answer(answers, {"ready": True})
        for line in iter(asked.readline, ""):
            _answer(answers, sections.checked_to(sections.check(sections.section_from(json.loads(line)), keys)))


def _answer(answers: IO[str], said: dict[str, Any]) -> None:
    answers.write(json.dumps(said) + "\n")
    answers.flush()
