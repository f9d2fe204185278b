"""What is sealed opens under its key and in its place only."""

import pytest
from django.conf import settings

from audit import sealing
from audit.errors import SealError


def test_unseal_returns_what_was_sealed() -> None:
    sealed = sealing.seal(b"seed", context="totp:user:3")
    assert sealing.unseal(sealed, context="totp:user:3") == b"seed"
    assert sealed[:1] == b"\x01"
    assert len(sealed) == 1 + 4 + 12 + 4 + 16


def test_seal_never_gives_the_same_bytes_twice() -> None:
    assert len({sealing.seal(b"seed", context="c") for _ in range(1_000)}) == 1_000


def test_unseal_refuses_another_context() -> None:
    sealed = sealing.seal(b"seed", context="totp:user:3")
    with pytest.raises(SealError):
        sealing.unseal(sealed, context="totp:user:4")


def test_unseal_refuses_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = sealing.seal(b"seed", context="c")
    monkeypatch.setattr(settings, "SEALING_KEY", bytes(32))
    with pytest.raises(SealError):
        sealing.unseal(sealed, context="c")


def test_unseal_refuses_one_flipped_bit_anywhere() -> None:
    sealed = sealing.seal(b"seed", context="c")
    for position in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(SealError):
            sealing.unseal(bytes(altered), context="c")


@pytest.mark.parametrize("length", range(33))
def test_unseal_refuses_what_is_too_short(length: int) -> None:
    with pytest.raises(SealError):
        sealing.unseal(sealing.seal(b"", context="c")[:length], context="c")


def test_keyed_digest_depends_on_key_label_and_message(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = sealing.keyed_digest(b"token", label="enrolment")
    assert len(digest) == 36
    assert digest == sealing.keyed_digest(b"token", label="enrolment")
    assert digest != sealing.keyed_digest(b"token", label="recovery")
    assert digest != sealing.keyed_digest(b"token2", label="enrolment")
    monkeypatch.setattr(settings, "DIGEST_KEY", bytes(32))
    assert digest != sealing.keyed_digest(b"token", label="enrolment")


def test_what_was_kept_under_an_earlier_key_is_still_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, first = sealing.keyed_digest(b"token", label="enrolment"), settings.DIGEST_KEY
    monkeypatch.setattr(settings, "DIGEST_KEY", bytes(32))
    assert kept not in sealing.keyed_digests(b"token", label="enrolment")
    monkeypatch.setattr(settings, "DIGEST_KEYS_PREVIOUS", (first, bytes(32)))  # named twice: compared once
    present, earlier = sealing.keyed_digests(b"token", label="enrolment")
    assert (present, earlier) == (sealing.keyed_digest(b"token", label="enrolment"), kept)
    assert (present[:4], earlier[:4]) == sealing.digest_epochs()
    assert present[4:] != earlier[4:]
    assert first[:4] not in sealing.digest_epochs()  # an epoch tells nothing of its key


def test_keyed_digest_refuses_a_label_that_could_run_into_the_message() -> None:
    with pytest.raises(ValueError, match="plain text"):
        sealing.keyed_digest(b"", label="a\0b")


def test_person_keys_differ_for_people_and_open_in_their_name_only() -> None:
    sealed = sealing.new_identity_key("user:1")
    keys = sealing.person_keys("user:1", sealed)
    assert keys.digest(b"x") != sealing.person_keys("user:2", sealing.new_identity_key("user:2")).digest(b"x")
    with pytest.raises(SealError):
        sealing.person_keys("user:2", sealed)


def test_nothing_that_holds_keys_shows_them() -> None:
    keys = sealing.person_keys("user:1", sealing.new_identity_key("user:1"))
    assert repr(keys) == "PersonKeys()"
    assert keys.digest_key.hex() not in repr(keys.sealer)
