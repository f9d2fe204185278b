import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from keyvault_admin.container import healthcheck


class _Site(BaseHTTPRequestHandler):
    """Answers 200 to /-/ready under its own name only, as Django does."""

    def do_GET(self) -> None:
        known = self.headers["Host"] == "keyvault.example" and self.path == "/-/ready"
        self.send_response(200 if known else 400)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name in the base class
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Site)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_web_asks_under_the_first_allowed_name(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "keyvault.example, other.example")
    assert healthcheck.web(port)
    monkeypatch.setenv("ALLOWED_HOSTS", "other.example")
    assert not healthcheck.web(port)


def test_web_is_unwell_when_nobody_listens() -> None:
    assert not healthcheck.web(1)


@pytest.mark.parametrize(("allowed", "host"), [(".example.com", "example.com"), ("*", "localhost"), ("", "localhost")])
def test_host_is_a_name_that_can_be_asked_for(allowed: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", allowed)
    assert healthcheck.host() == host


def test_beat_is_well_while_its_schedule_is_fresh(tmp_path: Path) -> None:
    assert not healthcheck.beat(tmp_path)
    schedule = tmp_path / "beat-schedule.db"
    schedule.touch()
    assert healthcheck.beat(tmp_path)
    long_ago = schedule.stat().st_mtime - healthcheck.OLDEST_BEAT_SECONDS - 1
    os.utime(schedule, (long_ago, long_ago))
    assert not healthcheck.beat(tmp_path)


def test_main_knows_no_other_process() -> None:
    assert healthcheck.main("worker") == 1
