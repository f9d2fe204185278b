"""Processes that are kept alive, up to a limit."""

import sys
import time
from pathlib import Path

import pytest

from keyvault_admin.local import children
from keyvault_admin.local.children import Child, Recipe
from keyvault_admin.local.errors import LocalError

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PAUSES", (0.01, 0.01, 0.01))


def python(code: str, shown: list[str]) -> Child:
    return Child(Recipe(name="web", argv=[sys.executable, "-c", code], patience=0.3), cwd=Path.cwd(), show=shown.append)


def tend(child: Child, said: list[str]) -> None:
    while True:
        if child.is_readable:
            child.pump()
        child.tend(said.append)
        time.sleep(0.005)


def test_tend_gives_up_after_three_restarts_with_the_last_words() -> None:
    shown: list[str] = []
    said: list[str] = []
    child = python("print('no settings'); raise SystemExit(3)", shown)
    child.begin()
    with pytest.raises(LocalError, match=r"web stopped again after 3 restarts\. Its last words:\nno settings"):
        tend(child, said)
    assert [line for line in shown if line] == ["web    | no settings"] * 4
    assert [line.split(". ")[1] for line in said] == [f"Restart {count} of 3 in 0 s." for count in (1, 2, 3)]


def test_tend_forgets_restarts_of_one_that_ran_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STEADY_SECONDS", 0.0)
    said: list[str] = []
    child = python("pass", [])
    child.begin()
    while len(said) < 5:
        child.tend(said.append)
        time.sleep(0.01)
    child.stop()
    assert {line.split(". ")[1] for line in said} == {"Restart 1 of 3 in 0 s."}


def test_stop_ends_one_that_does_not_listen() -> None:
    shown: list[str] = []
    child = python(STUBBORN, shown)
    child.begin()
    while not shown:
        child.pump()
    started = time.monotonic()
    child.stop()
    assert not child.is_alive()
    assert time.monotonic() - started < 2


def test_pump_shows_whole_lines_only() -> None:
    shown: list[str] = []
    child = python(
        "import sys, time; sys.stdout.write('one\\ntw'); sys.stdout.flush(); time.sleep(0.2); print('o')", shown
    )
    child.begin()
    while child.is_readable:
        child.pump()
        time.sleep(0.01)
    child.stop()
    assert shown == ["web    | one", "web    | two"]


def test_the_worker_alone_is_told_of_the_master_key(tmp_path: Path) -> None:
    told = {
        recipe.name: recipe.env for recipe in children.application(8000, tmp_path, tmp_path / "a", tmp_path / "b c")
    }
    assert [name for name, env in told.items() if any("MASTER_KEY" in variable for variable in env)] == ["worker"]
    assert told["worker"]["KEYVAULT_MASTER_KEY_FILE"] == str(tmp_path / "b c" / "master_key")
    named = [name for name, env in told.items() if env.get("KEYVAULT_KMS") == f"local://{tmp_path}/b%20c/ring#house"]
    assert named == ["web", "worker"]
    without = [recipe.env for recipe in children.application(8000, tmp_path, tmp_path / "a")]
    assert not any("KEYVAULT_KMS" in env for env in without)
