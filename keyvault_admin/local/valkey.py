"""Valkey on loopback: the broker."""

import signal
from pathlib import Path

import redis

from keyvault_admin.local.engine import HOST, Engine
from keyvault_admin.local.places import owned_folder, valkey_program
from keyvault_admin.local.processes import end_leftover


class Valkey(Engine):
    name = "valkey"
    title = "Valkey"
    stop_signal = signal.SIGTERM

    def prepare(self) -> None:
        self._folder = owned_folder(self.places, "valkey")
        end_leftover(self._folder / "valkey.pid", home=self._folder, ask_with=self.stop_signal)

    def command(self) -> tuple[list[str | Path], Path, bytes]:
        """Give the configuration on standard input: on the command line every user of the machine could read it."""
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            "protected-mode yes",
            f"requirepass {self.password}",
            f'dir "{self._folder}"',
            f'pidfile "{self._folder / "valkey.pid"}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
        ]
        return [valkey_program(self.places), "-"], self._folder, "\n".join([*lines, ""]).encode()

    def answers(self) -> bool:
        client = redis.Redis(
            host=HOST, port=self.port, password=self.password, socket_connect_timeout=1, socket_timeout=1
        )
        try:
            return bool(client.ping())
        except redis.exceptions.ConnectionError:  # refused, or still loading its file
            return False
        finally:
            client.close()
