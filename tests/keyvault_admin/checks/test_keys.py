"""Secrets that people type, copy or reuse are found; drawn ones are not."""

import base64
import secrets
from pathlib import Path

import pytest
from pytest_django import Settings

from keyvault_admin.checks import keys

DRAWN = bytes.fromhex("9f1c7a4be0d35826b1fa0c9d77e2483165acd90e4f8b23c71650e8fd3ab49762")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (bytes(32), "has only 1 different bytes"),
        (b"\x01\x02" * 16, "has only 2 different bytes"),
        (bytes(range(32)), "counts up or down"),
        (bytes(range(64, 0, -2)), "counts up or down"),
        (b"correct horse battery staple 123", "is a text, so it was typed and not drawn"),
        (DRAWN[:16], "has 128 bits instead of 256"),
    ],
)
def test_why_weak_finds_what_was_not_drawn(key: bytes, why: str) -> None:
    assert keys.why_weak(key) == why


def test_why_weak_takes_a_thousand_drawn_keys() -> None:
    assert {keys.why_weak(secrets.token_bytes(32)) for _ in range(1000)} == {""}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("django-insecure-" + "qL7x0Zr4Vt" * 5, "as public examples do"),
        ("ChangeMe" * 8, "as public examples do"),
        ("qL7x0Zr4VtB2mN8kD1wYgQ5sHcE", "fewer than 50"),
        ("abcabcabc" * 7, "only 3 different characters"),
    ],
)
def test_secret_key_that_is_weak(settings: Settings, given: str, said: str) -> None:
    settings.SECRET_KEY = given
    answer = keys.secret_key()
    assert said in answer.said
    assert answer.mend
    assert given not in answer.said + answer.mend


def test_secret_key_that_is_strong(settings: Settings) -> None:
    settings.SECRET_KEY = base64.b64encode(DRAWN * 2).decode()
    assert not keys.secret_key().mend


@pytest.mark.parametrize(
    ("name", "look"),
    [("SEALING_KEY", keys.sealing_key), ("DIGEST_KEY", keys.digest_key)],
)
def test_keys_are_judged(settings: Settings, name: str, look) -> None:
    setattr(settings, name, DRAWN)
    assert not look().mend
    setattr(settings, name, bytes(32))
    assert "1 different" in look().said
    assert "openssl rand" in look().mend


@pytest.mark.parametrize("name", ["SEALING_KEYS_PREVIOUS", "DIGEST_KEYS_PREVIOUS"])
def test_earlier_keys_are_judged(settings: Settings, name: str) -> None:
    settings.SEALING_KEYS_PREVIOUS = settings.DIGEST_KEYS_PREVIOUS = ()
    assert not keys.earlier_keys().mend
    setattr(settings, name, (DRAWN, bytes(32)))
    assert keys.earlier_keys().said.startswith(f"Key 2 of KEYVAULT_{name}")
    assert keys.earlier_keys().mend


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"DIGEST_KEY": DRAWN}, "KEYVAULT_DIGEST_KEY is the same as KEYVAULT_SEALING_KEY"),
        (
            {"DIGEST_KEYS_PREVIOUS": (DRAWN,)},
            "A key of KEYVAULT_DIGEST_KEYS_PREVIOUS is the same as KEYVAULT_SEALING_KEY",
        ),
        ({"SECRET_KEY": base64.b64encode(DRAWN).decode()}, "KEYVAULT_SEALING_KEY is the same as SECRET_KEY"),
        ({"DIGEST_KEYS_PREVIOUS": (bytes(32), bytes(32))}, "is the same as a key of"),
    ],
)
def test_one_purpose_each(settings: Settings, changed: dict[str, object], said: str) -> None:
    settings.SEALING_KEY = DRAWN
    assert not keys.one_purpose_each().mend
    for name, text in changed.items():
        setattr(settings, name, text)
    assert said in keys.one_purpose_each().said
    assert keys.one_purpose_each().mend


def test_secrets_of_the_demo_are_not_taken_to_a_server(settings: Settings, tmp_path: Path) -> None:
    assert not keys.not_of_the_demo().mend  # on the embedded engines they belong here
    settings.IS_LOCAL = False
    assert keys.not_of_the_demo().said.startswith(
        "KEYVAULT_DIGEST_KEY and KEYVAULT_SEALING_KEY and SECRET_KEY stand in local.env"
    )
    settings.SEALING_KEY, settings.DIGEST_KEY = DRAWN, DRAWN[::-1]
    assert keys.not_of_the_demo().said.startswith("SECRET_KEY stand")
    settings.LOCAL_ENV = tmp_path / "none"
    assert not keys.not_of_the_demo().mend


def test_a_process_without_a_master_key_is_in_order(settings: Settings) -> None:
    settings.MASTER_KEY = None
    assert not keys.master_key().mend
    assert not keys.master_key_in_a_file().mend


@pytest.mark.parametrize(("key", "is_well"), [(DRAWN, True), (bytes(32), False), (bytes(range(32)), False)])
def test_a_master_key_must_look_drawn(settings: Settings, key: bytes, *, is_well: bool) -> None:
    settings.MASTER_KEY = key
    answer = keys.master_key()
    assert bool(answer.mend) is not is_well
    assert key.hex() not in answer.said + answer.mend


def test_a_master_key_has_a_purpose_of_its_own(settings: Settings) -> None:
    settings.MASTER_KEY = settings.SEALING_KEY
    assert keys.one_purpose_each().said == "KEYVAULT_MASTER_KEY is the same as KEYVAULT_SEALING_KEY."
    settings.MASTER_KEY = DRAWN
    assert not keys.one_purpose_each().mend


@pytest.mark.parametrize(
    ("source", "is_well"),
    [("file:///run/secrets/master_key", True), ("env:KEYVAULT_MASTER_KEY", False)],
)
def test_a_master_key_in_a_variable_is_warned_of(settings: Settings, source: str, *, is_well: bool) -> None:
    settings.MASTER_KEY = DRAWN
    settings.SECRET_SOURCES = {**settings.SECRET_SOURCES, "KEYVAULT_MASTER_KEY": source}
    answer = keys.master_key_in_a_file()
    assert bool(answer.mend) is not is_well
    if not is_well:
        assert "KEYVAULT_MASTER_KEY_FILE" in answer.mend
