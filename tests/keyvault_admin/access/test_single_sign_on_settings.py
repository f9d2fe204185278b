"""What single sign-on demands of the settings: all of it or nothing, and addresses that nobody else can read."""

import os
import subprocess
import sys

import pytest

from tests.engines import ROOT

GOOD = {
    "KEYVAULT_OIDC_ISSUER": "https://id.example.com",
    "KEYVAULT_OIDC_CLIENT_ID": "keyvault",
    "KEYVAULT_OIDC_CLIENT_SECRET": "not a secret at all",
    "KEYVAULT_OIDC_AUTHORIZATION_ENDPOINT": "https://id.example.com/authorize",
    "KEYVAULT_OIDC_TOKEN_ENDPOINT": "https://id.example.com/token",
    "KEYVAULT_OIDC_JWKS_ENDPOINT": "https://id.example.com/keys",
}
START = "from keyvault_admin import settings; print(settings.OIDC_OP_TOKEN_ENDPOINT, sorted(settings.OIDC_MFA_AMR))"


def start(before: str = "", **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Read the settings in a process of its own, as each process of the site does."""
    environ = {name: text for name, text in {**os.environ, **GOOD, **changes}.items() if text is not None}
    return subprocess.run(
        [sys.executable, "-c", before + START], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


def test_all_that_is_needed_is_enough() -> None:
    started = start(KEYVAULT_OIDC_MFA_AMR="mfa,hwk")
    assert started.stdout == "https://id.example.com/token ['hwk', 'mfa']\n", started.stderr


def test_without_an_issuer_the_rest_is_not_looked_at() -> None:
    started = start(KEYVAULT_OIDC_ISSUER=None, KEYVAULT_OIDC_TOKEN_ENDPOINT="http://id.example.com")
    assert started.stdout == " []\n", started.stderr


def test_without_the_extra_the_start_is_refused_in_one_sentence() -> None:
    """The packages are made invisible, as where the extra was never installed."""
    hidden = "import sys; sys.modules['mozilla_django_oidc'] = None; "
    refused = start(hidden)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith(
        "KEYVAULT_OIDC_ISSUER is set, but the packages for single sign-on are not installed: uv sync --extra oidc"
    )
    assert start(hidden, KEYVAULT_OIDC_ISSUER=None).returncode == 0


@pytest.mark.parametrize("name", [name for name in GOOD if name != "KEYVAULT_OIDC_ISSUER"])
def test_what_is_missing_is_named(name: str) -> None:
    refused = start(**{name: None})
    assert refused.returncode == 1
    assert f"{name} is not set." in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("KEYVAULT_OIDC_ISSUER", "http://id.example.com"),
        ("KEYVAULT_OIDC_TOKEN_ENDPOINT", "http://id.example.com/token"),
        ("KEYVAULT_OIDC_TOKEN_ENDPOINT", "https://user:word@id.example.com/token"),
        ("KEYVAULT_OIDC_JWKS_ENDPOINT", "file:///etc/keys"),
        ("KEYVAULT_OIDC_AUTHORIZATION_ENDPOINT", "https://id.example.com/#x"),
        ("KEYVAULT_OIDC_ALGORITHM", "HS256"),
        ("KEYVAULT_OIDC_ALGORITHM", "none"),
        ("KEYVAULT_OIDC_MFA_AMR", "mfa,pwd"),
    ],
)
def test_what_would_weaken_it_is_refused(name: str, said: str) -> None:
    refused = start(**{name: said})
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert name in last
    assert "word@" not in last
