"""AUD-09: a message is one line of the log, whatever somebody typed."""

import io
import logging

import pytest

from keyvault_admin.logs import LineFormatter


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(said: io.StringIO) -> logging.Logger:
    logger = logging.Logger("tests")  # noqa: LOG001 - one that nobody else hears
    handler = logging.StreamHandler(said)
    handler.setFormatter(LineFormatter("{levelname} {name}: {message}", style="{"))
    logger.addHandler(handler)
    return logger


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\x1b[2J", "\0", "\x9b"]
)
def test_whatever_is_typed_stays_on_one_line(logger: logging.Logger, said: io.StringIO, end: str) -> None:
    logger.warning("refused %s", f"alice{end}INFO tests: signed in")
    (line,) = said.getvalue().splitlines()
    assert line.startswith("WARNING tests: refused alice\\")
    assert all(letter.isprintable() for letter in line)


def test_a_traceback_stands_on_lines_of_its_own(logger: logging.Logger, said: io.StringIO) -> None:
    try:
        int("no number")
    except ValueError:
        logger.exception("not\nread")
    first, *rest = said.getvalue().splitlines()
    assert first == "ERROR tests: not\\x0aread"
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: invalid literal for int() with base 10: 'no number'"


def test_names_in_other_scripts_are_left_alone(logger: logging.Logger, said: io.StringIO) -> None:
    logger.warning("Zoë Łukasz 山田")
    assert said.getvalue() == "WARNING tests: Zoë Łukasz 山田\n"
