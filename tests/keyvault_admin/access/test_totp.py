from datetime import UTC, datetime, timedelta

import pytest

from keyvault_admin.access import totp

SEED = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_code_at_gives_the_published_codes(seconds: int, code: str) -> None:
    """RFC 6238, appendix B: the last six of the eight digits."""
    assert totp.code_at(SEED, totp.step_at(datetime.fromtimestamp(seconds, UTC))) == code


def test_matching_step_allows_one_step_either_way(now: datetime) -> None:
    current = totp.step_at(now)
    steps = range(current - 3, current + 4)
    found = [totp.matching_step(SEED, totp.code_at(SEED, step), now) for step in steps]
    assert found == [None, None, current - 1, current, current + 1, None, None]


@pytest.mark.parametrize(
    "variant",
    [
        " {}",
        "{} ",
        "{}\n",
        "\t{}",
        "+{}",
        "-{}",
        "0{}",
        "{}0",
        "{}.0",
        "0x{}",
        "\u00a0{}",
        "\u200b{}",
        "{}\x00",
        "\ufeff{}",
    ],
)
def test_matching_step_refuses_a_right_code_with_anything_around_it(now: datetime, variant: str) -> None:
    code = totp.code_at(SEED, totp.step_at(now))
    assert totp.matching_step(SEED, variant.format(code), now) is None


@pytest.mark.parametrize("zero", ["\u0660", "\uff10", "\u0966", "\u06f0", "\U0001d7ce"])
def test_matching_step_refuses_the_digits_of_other_scripts(now: datetime, zero: str) -> None:
    code = "".join(chr(ord(zero) + int(digit)) for digit in totp.code_at(SEED, totp.step_at(now)))
    assert int(code) == int(totp.code_at(SEED, totp.step_at(now))), "int() would have taken it"
    assert totp.matching_step(SEED, code, now) is None


@pytest.mark.parametrize("inside", ["_", " ", "-", ""])
def test_matching_step_refuses_a_separator_inside(now: datetime, inside: str) -> None:
    code = totp.code_at(SEED, totp.step_at(now))
    expected = totp.step_at(now) if inside == "" else None
    assert totp.matching_step(SEED, code[:3] + inside + code[3:], now) == expected


def test_seconds_left_counts_down_to_the_next_step(now: datetime) -> None:
    assert totp.seconds_left(now) == 30
    assert totp.seconds_left(now + timedelta(seconds=29, milliseconds=900)) == 1


def test_provisioning_uri_says_what_apps_read() -> None:
    uri = totp.provisioning_uri(SEED, account="al&ice", issuer="Keyvault Admin")
    assert uri == (
        "otpauth://totp/Keyvault%20Admin%3Aal%26ice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Keyvault%20Admin"
    )
