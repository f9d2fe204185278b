"""Whether the process of this container does its work: `healthcheck.py web` or `healthcheck.py beat`. Exit code 0 or 1.

It needs the standard library only, so that asking twice a minute costs next to nothing.
"""

import http.client
import os
import sys
import time
from pathlib import Path

BEAT_FOLDER = Path("/tmp")  # noqa: S108 - a temporary file system of the container's own
OLDEST_BEAT_SECONDS = 600.0  # it sends something every minute and writes its schedule down every three


def web(port: int = 8000) -> bool:
    """Ask /-/ready under the first name that the site answers to."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/-/ready", headers={"Host": host()})
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def host() -> str:
    """Return a name out of ALLOWED_HOSTS: ".example.com" stands for the domain itself too."""
    name = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().lstrip(".")
    return name if name and name != "*" else "localhost"


def beat(folder: Path = BEAT_FOLDER) -> bool:
    """Look at the age of the schedule, whose files are named after the database module that keeps it."""
    written = [path.stat().st_mtime for path in folder.glob("beat-schedule*")]
    return bool(written) and time.time() - max(written) < OLDEST_BEAT_SECONDS


def main(process: str) -> int:
    """Return the exit code for one process of the image."""
    if process == "web":
        return 0 if web() else 1
    return 0 if process == "beat" and beat() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
