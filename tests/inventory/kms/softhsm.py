"""SoftHSM, a token in software: one configuration a test process, in a folder of its own, with tokens as tests need."""

import atexit
import os
import secrets
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from inventory.kms import tokens

PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
LIBRARY = next((place for place in PLACES if Path(place).exists()), "")
IS_LEFT_OUT = "softhsm" in os.environ.get("KEYVAULT_TEST_WITHOUT", "").split()
MISSING = "KEYVAULT_TEST_WITHOUT names softhsm." if IS_LEFT_OUT else ""
if not LIBRARY:
    MISSING = "SoftHSM is not installed: install the package softhsm2."


@cache
def folder() -> Path:
    """Return where tokens are kept; the library reads the name of its configuration when it is first used."""
    made = tempfile.TemporaryDirectory(prefix="softhsm-")
    atexit.register(made.cleanup)
    place = Path(made.name)
    (place / "tokens").mkdir(mode=0o700)
    (place / "softhsm2.conf").write_text(
        f"directories.tokendir = {place}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(place / "softhsm2.conf")
    return place


def new_token(label: str) -> str:
    """Make a token and return its address, with #name to come after it; the library of this process sees it."""
    place, pin = folder(), secrets.token_hex(8)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", secrets.token_hex(8)],
        check=True, capture_output=True, env=dict(os.environ),
    )  # fmt: skip
    pin_file(label).write_text(f"{pin}\n")
    tokens.library(LIBRARY).is_stale = True
    return f"pkcs11://{LIBRARY}?token={label}&pin_file={place}/{label}.pin"


def pin_file(label: str) -> Path:
    return folder() / f"{label}.pin"
