"""ALG-01 to ALG-03: every row of the table on both sides of every date, every name of the sample, every strength."""

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.algorithms import (
    AlgorithmRow,
    Facts,
    InUse,
    Judgement,
    Status,
    TableError,
    falls,
    is_weaker,
    judge,
    judge_rows,
    read_table,
    security_strength,
)
from inventory.chips import algorithm_chip
from inventory.recognise import algorithm_of, kind_of

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "inventory" / "data" / "algorithm_policy.csv").read_text(encoding="utf-8")
READ_ON = date(2026, 11, 21)
ROWS = read_table(TEXT, read_on=READ_ON)
TODAY = READ_ON
DAY = timedelta(days=1)

# The days of ALG-01: each boundary, the day before and the day after. No row changes between two days of one column.
COLUMNS = (
    (date(2023, 12, 30), date(2023, 12, 31)),
    (date(2024, 1, 1),),
    (date(2026, 11, 20), date(2026, 11, 21), date(2026, 11, 22)),
    (date(2030, 12, 30), date(2030, 12, 31)),
    (date(2031, 1, 1), date(2035, 12, 30), date(2035, 12, 31)),
    (date(2036, 1, 1),),
)
LETTERS = {
    "A": Status.APPROVED,
    "E": Status.EXCEPTION,
    "L": Status.LEGACY,
    "N": Status.NOT_YET,
    "P": Status.PROHIBITED,
}
# Written by hand from the table and the rule in docs/algorithms.md: for new keys, then for existing ones.
EXPECTED = """
AES-GCM                     | 256 iv96 tag128      | AA AA AA AA AA AA
AES-GCM                     | 192 iv96 tag128      | AA AA AA AA AA AA
AES-GCM                     | 128 iv96 tag128      | AA AA AA AA AA AA
AES-GCM                     | tag<96               | PL PL PL PL PL PL
AES-KW                      | 256                  | AA AA AA AA AA AA
AES-KWP                     | 256                  | AA AA AA AA AA AA
AES-KW                      | 128/192              | EA EA EA EA EA EA
AES-CCM                     | 256                  | AA AA AA AA AA AA
AES-CBC-HMAC                | encrypt-then-mac     | LA LA LA LA LA LA
AES-ECB                     | any                  | PL PL PL PL PL PL
AES-CTR                     | unauthenticated      | PL PL PL PL PL PL
ChaCha20-Poly1305           | 256                  | AA AA AA AA AA AA
XChaCha20-Poly1305          | 256                  | AA AA AA AA AA AA
AES-GCM-SIV                 | 256                  | EA EA EA EA EA EA
3TDEA                       | 168                  | LA PL PL PL PL PL
2TDEA                       | 112                  | PL PL PL PL PL PL
DES                         | 56                   | PP PP PP PP PP PP
RC4                         | any                  | PP PP PP PP PP PP
Blowfish                    | any                  | PL PL PL PL PL PL
RSA-OAEP-256                | 4096                 | AA AA AA AA AA PL
RSA-OAEP-256                | 3072                 | AA AA AA AA AA PL
RSA-OAEP-256                | 2048                 | LA LA LA LA PL PL
RSA-OAEP                    | sha1 mgf1sha1        | LA LA LA LA PL PL
RSA-PKCS1v15-ENC            | any                  | LA PL PL PL PL PL
RSA                         | <2048                | PL PL PL PL PL PL
RSA-PSS                     | >=3072               | AA AA AA AA AA PL
RSA-PSS                     | 2048                 | LA LA LA LA PL PL
RSA-PKCS1v15-SIG            | >=2048               | LA LA LA LA LA PL
ECDSA                       | P-256                | AA AA AA AA AA PL
ECDSA                       | P-384/P-521          | AA AA AA AA AA PL
ECDSA                       | <P-256               | PL PL PL PL PP PP
Ed25519                     |                      | AA AA AA AA AA PL
Ed448                       |                      | AA AA AA AA AA PL
DSA                         | any                  | PL PL PL PL PL PL
ECDH                        | P-256/P-384/P-521    | AA AA AA AA AA PL
X25519                      |                      | AA AA AA AA AA PL
FFDH                        | >=3072               | AA AA AA AA AA PL
ML-KEM                      | 1024                 | NN NN AA AA AA AA
ML-KEM                      | 768                  | NN NN AA AA AA AA
ML-KEM                      | 512                  | NN NN EA EA EA EA
X25519MLKEM768              |                      | AA AA AA AA AA AA
ML-DSA                      | 87                   | NN NN AA AA AA AA
ML-DSA                      | 65                   | NN NN AA AA AA AA
ML-DSA                      | 44                   | NN NN EA EA EA EA
SLH-DSA                     | any                  | NN NN AA AA AA AA
FN-DSA                      | any                  | NN NN NN NN NN NN
SHA-256/SHA-384/SHA-512/SHA-512/256 |              | AA AA AA AA AA AA
SHA3-256/SHA3-384/SHA3-512  |                      | AA AA AA AA AA AA
SHA-224/SHA-512/224/SHA3-224 |                     | LA LA LA LA PL PL
SHA-1                       | signature            | PL PL PL PL PL PL
SHA-1                       | other                | LA LA LA LA PL PL
MD5                         |                      | PP PP PP PP PP PP
HMAC-SHA-256/384/512        |                      | AA AA AA AA AA AA
HMAC-SHA-1                  |                      | LA LA LA LA PL PL
HMAC-MD5                    |                      | PP PP PP PP PP PP
HKDF                        | sha256               | AA AA AA AA AA AA
Argon2id                    | m>=19456KiB t=2 p=1  | AA AA AA AA AA AA
scrypt                      | N>=2^17 r=8 p=1      | AA AA AA AA AA AA
bcrypt                      | cost>=12             | AA AA AA AA AA AA
PBKDF2-HMAC-SHA-256         | iterations>=600000   | AA AA AA AA AA AA
PBKDF2-HMAC-SHA-256         | iterations<600000    | PL PL PL PL PL PL
PBKDF2-HMAC-SHA-512         | iterations>=210000   | AA AA AA AA AA AA
DRBG                        | CTR/HMAC/Hash        | AA AA AA AA AA AA
non-CSPRNG                  | any                  | PP PP PP PP PP PP
TLS                         | 1.3                  | AA AA AA AA AA AA
TLS                         | 1.2 ecdhe aead       | AA AA AA AA AA AA
TLS                         | 1.0/1.1              | PP PP PP PP PP PP
FIPS-140-2 module           |                      | AA AA LA LA LA LA
FIPS-140-3 module           |                      | AA AA AA AA AA AA
TLS-leaf-certificate        | max 398 d            | LA LA PL PL PL PL
TLS-leaf-certificate        | max 200 d            | NN NN AA PL PL PL
TLS-leaf-certificate        | max 100 d            | NN NN NN PL PL PL
TLS-leaf-certificate        | max 47 d             | NN NN NN AA AA AA
"""


def expectations() -> dict[tuple[str, str], list[str]]:
    lines = [[cell.strip() for cell in line.split("|")] for line in EXPECTED.strip().splitlines()]
    return {(algorithm, parameters): cells.split() for algorithm, parameters, cells in lines}


def row(algorithm: str, parameters: str = "") -> AlgorithmRow:
    found = [one for one in ROWS if (one.algorithm, one.parameters) == (algorithm, parameters)]
    assert len(found) == 1
    return found[0]


def judged(algorithm: str, size_bits: int | None = None, kind: str = "signing_key", day: date = TODAY) -> Judgement:
    return judge(Facts(algorithm=algorithm, size_bits=size_bits, kind=kind), ROWS, day)


# The table


def test_read_table_reads_all_rows_as_the_file_has_them() -> None:
    lines = list(csv.reader(TEXT.splitlines()))
    assert len(ROWS) == len(lines) - 1 == 73
    for line, read in zip(lines[1:], ROWS, strict=True):
        written = [
            read.algorithm, read.parameters, read.use, read.status_new, read.status_existing, read.classical_bits,
            read.pq_safe, read.effective_from, read.effective_to, read.source, read.source_status,
        ]  # fmt: skip
        assert ["" if cell is None else str(cell) for cell in written] == line
        assert read.read_on == READ_ON


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("data,approved,approved,256", "data,approved,fine,256", "fine"),
        ("data,approved,approved,256", "data,unknown,approved,256", "status"),
        ("2001-11-26", "26.11.2001", "isoformat"),
        ("256,yes", "many,yes", "many"),
        ("AES-GCM,192 iv96", "AES-GCM,256 iv96", "twice"),
        (",final", ",rumour", "rumour"),
    ],
)
def test_read_table_refuses_what_it_cannot_read(before: str, after: str, says: str) -> None:
    with pytest.raises(TableError, match=says) as error:
        read_table(TEXT.replace(before, after, 1), read_on=READ_ON)
    assert 2 <= error.value.line <= 3


def test_every_row_has_exactly_the_expected_status_on_each_day() -> None:
    """ALG-01: 73 rows on 12 days, for new keys and for existing ones."""
    expected, compared = expectations(), 0
    assert len(expected) == 73
    for one in ROWS:
        cells = expected[one.algorithm.replace("|", "/"), one.parameters.replace("|", "/")]
        for days, letters in zip(COLUMNS, cells, strict=True):
            for day in days:
                result = judge_rows([one], day)
                assert (result.status_new, result.status) == (LETTERS[letters[0]], LETTERS[letters[1]]), (
                    one.label,
                    day,
                )
                compared += 1
    assert compared == 73 * 12


@pytest.mark.parametrize(
    ("name", "last_day", "until_then", "from_then_on"),
    [
        (("3TDEA", "168"), date(2023, 12, 31), "LA", "PL"),
        (("DES", "56"), date(2005, 5, 19), "LL", "PP"),
        (("DSA", "any"), date(2023, 2, 3), "LA", "PL"),
        (("TLS", "1.0|1.1"), date(2021, 3, 25), "LL", "PP"),
        (("FIPS-140-2 module", ""), date(2026, 9, 21), "AA", "LA"),
        (("TLS-leaf-certificate", "max 398 d"), date(2020, 8, 31), "NN", "LA"),
        (("TLS-leaf-certificate", "max 398 d"), date(2026, 3, 14), "LA", "PL"),
        (("TLS-leaf-certificate", "max 200 d"), date(2026, 3, 14), "NN", "AA"),
        (("TLS-leaf-certificate", "max 200 d"), date(2027, 3, 14), "AA", "PL"),
        (("TLS-leaf-certificate", "max 100 d"), date(2029, 3, 14), "AA", "PL"),
        (("TLS-leaf-certificate", "max 47 d"), date(2029, 3, 14), "NN", "AA"),
        (("ML-KEM", "768"), date(2024, 8, 13), "NN", "AA"),
        (("Ed25519", ""), date(2023, 2, 2), "NN", "AA"),
    ],
)
def test_a_row_changes_the_day_after_its_last_and_not_before(
    name: tuple[str, str], last_day: date, until_then: str, from_then_on: str
) -> None:
    for day, letters in ((last_day - DAY, until_then), (last_day, until_then), (last_day + DAY, from_then_on)):
        assert row(*name).statuses(day) == tuple(LETTERS[letter] for letter in letters)


# Names


# (type, algorithm) as the sample writes them: the row that decides, today's status for new and for existing keys, bits
SAMPLE = {
    ("API token", "opaque"): (None, "--", None),
    ("Personal access token", "opaque"): (None, "--", None),
    ("Webhook secret", "opaque"): (None, "--", None),
    ("DB password", "opaque"): (None, "--", None),
    ("Backup encryption key", "3DES"): ("3TDEA 168", "PL", 112),
    ("Backup encryption key", "AES-256"): ("AES-GCM 256 iv96 tag128", "AA", 256),
    ("DEK", "AES-256-GCM"): ("AES-GCM 256 iv96 tag128", "AA", 256),
    ("HMAC secret", "HMAC-MD5"): ("HMAC-MD5", "PP", None),
    ("HMAC secret", "HMAC-SHA1"): ("HMAC-SHA-1", "LA", 128),
    ("HMAC secret", "HMAC-SHA256"): ("HMAC-SHA-256|384|512", "AA", 256),
    ("JWT signing key", "ES256"): ("ECDSA P-256", "AA", 128),
    ("JWT signing key", "HS256"): ("HMAC-SHA-256|384|512", "AA", 256),
    ("JWT signing key", "RS256"): ("RSA-PSS 2048", "LA", 112),
    ("KEK", "AES-256"): ("AES-KW 256", "AA", 256),
    ("KEK", "RSA-2048"): ("RSA-OAEP-256 2048", "LA", 112),
    ("KEK", "RSA-3072"): ("RSA-OAEP-256 3072", "AA", 128),
    ("KEK", "RSA-4096"): ("RSA-OAEP-256 4096", "AA", 128),
    ("SSH key", "DSA"): ("DSA any", "PL", None),
    ("SSH key", "RSA-4096"): ("RSA-PSS >=3072", "AA", 128),
    ("SSH key", "ed25519"): ("Ed25519", "AA", 128),
    ("TLS certificate", "ECDSA P-256"): ("ECDSA P-256", "AA", 128),
    ("TLS certificate", "RSA-1024"): ("RSA <2048", "PL", 80),
    ("TLS certificate", "RSA-2048"): ("RSA-PSS 2048", "LA", 112),
}


def test_judge_maps_every_algorithm_of_the_sample() -> None:
    with (ROOT / "tests" / "data" / "notion-inventory.csv").open(encoding="utf-8-sig", newline="") as sample:
        written = {(line["Type"].strip(), line["Algorithm"].strip()) for line in csv.DictReader(sample)}
    assert written == set(SAMPLE)
    assert len({algorithm for _, algorithm in written}) == 17
    for (kind, text), (label, letters, bits) in SAMPLE.items():
        algorithm, size = algorithm_of(text)
        result = judged(algorithm, size, kind_of(kind))
        if label is None:
            assert (result.row, result.status, result.status_new) == (
                None,
                Status.NOT_APPLICABLE,
                Status.NOT_APPLICABLE,
            )
        else:
            assert result.row is not None
            assert result.row.label == label
            assert (result.status_new, result.status) == (LETTERS[letters[0]], LETTERS[letters[1]])
        assert result.security_strength_bits == bits


@pytest.mark.parametrize(
    ("algorithm", "size", "kind", "label"),
    [
        ("RS256", 4096, "signing_key", "RSA-PKCS1v15-SIG >=2048"),
        ("RS256", 2048, "signing_key", "RSA-PSS 2048"),
        ("RS256", 1024, "signing_key", "RSA <2048"),
        ("PS512", None, "signing_key", "RSA-PSS 2048"),
        ("RSA", 2560, "kek", "RSA-OAEP-256 2048"),
        ("RSA", 8192, "kek", "RSA-OAEP-256 4096"),
        ("RSA-4096", 1024, "kek", "RSA <2048"),
        ("RSA-OAEP", 4096, "kek", "RSA-OAEP sha1 mgf1sha1"),
        ("RSA-OAEP-256", 3072, "kek", "RSA-OAEP-256 3072"),
        ("RSA1_5", 2048, "kek", "RSA-PKCS1v15-ENC any"),
        ("AES", 256, "master_key", "AES-KW 256"),
        ("AES-128", 128, "kek", "AES-KW 128|192"),
        ("AES-256-KWP", 256, "dek", "AES-KWP 256"),
        ("AES-192-GCM", 192, "dek", "AES-GCM 192 iv96 tag128"),
        ("AES-256-GCM-SIV", 256, "dek", "AES-GCM-SIV 256"),
        ("AES-128-ECB", 128, "dek", "AES-ECB any"),
        ("AES-256-CTR", 256, "dek", "AES-CTR unauthenticated"),
        ("AES-256-CCM", 256, "dek", "AES-CCM 256"),
        ("A256CBC-HS512", 256, "dek", "AES-CBC-HMAC encrypt-then-mac"),
        ("A256GCMKW", None, "dek", "AES-GCM 256 iv96 tag128"),
        ("A256KW", None, "dek", "AES-KW 256"),
        ("3DES", 112, "dek", "2TDEA 112"),
        ("TripleDES", None, "dek", "3TDEA 168"),
        ("DES", None, "dek", "DES 56"),
        ("RC4", None, "dek", "RC4 any"),
        ("Blowfish", None, "dek", "Blowfish any"),
        ("XChaCha20-Poly1305", 256, "dek", "XChaCha20-Poly1305 256"),
        ("DSA-2048", 2048, "ssh_key", "DSA any"),
        ("EdDSA", None, "signing_key", "Ed25519"),
        ("EdDSA", 456, "signing_key", "Ed448"),
        ("ssh-ed25519", None, "ssh_key", "Ed25519"),
        ("ES512", 521, "signing_key", "ECDSA P-384|P-521"),
        ("ecdsa-sha2-nistp384", None, "ssh_key", "ECDSA P-384|P-521"),
        ("prime256v1", None, "tls_certificate", "ECDSA P-256"),
        ("ECDSA P-224", 224, "tls_certificate", "ECDSA <P-256"),
        ("ECDSA", 192, "tls_certificate", "ECDSA <P-256"),
        ("ECDH P-256", 256, "dek", "ECDH P-256|P-384|P-521"),
        ("X25519", 256, "dek", "X25519"),
        ("DH", 4096, "dek", "FFDH >=3072"),
        ("ML-KEM-768", None, "kek", "ML-KEM 768"),
        ("ML-DSA-65", None, "signing_key", "ML-DSA 65"),
        ("SLH-DSA-SHA2-128s", None, "signing_key", "SLH-DSA any"),
        ("FN-DSA-512", None, "signing_key", "FN-DSA any"),
        ("HS512", 256, "hmac_key", "HMAC-SHA-256|384|512"),
    ],
)
def test_judge_finds_the_row_that_decides(algorithm: str, size: int | None, kind: str, label: str) -> None:
    result = judged(algorithm, size, kind)
    assert result.row is not None
    assert result.row.label == label


@pytest.mark.parametrize(
    ("algorithm", "size"),
    [
        ("", None), ("  ", 256), ("ROT13", 256), ("AES", None), ("AES-512", 512), ("AES", 200), ("AES-256", 0),
        ("AES-256-CBC", 256), ("AES-256-XTS", 256), ("AES-128-KWP", 128), ("A128CBC-HS256", 128), ("RSA", None),
        ("RSA-PSS", None), ("ECDSA", None), ("ECDSA", 256), ("ECDSA secp256k1", 256), ("secp256k1", 256),
        ("brainpoolP256r1", 256), ("ECDH", None), ("ECDH P-224", 224), ("X448", 448), ("DH", None), ("DH", 2048),
        ("ML-KEM-600", None), ("ML-KEM", None), ("HMAC", None), ("HMAC-SHA-224", None), ("HMAC-SHA-256", 64),
        ("HMAC-SHA-1", 80), ("Argon2id", None), ("bcrypt", None), ("PBKDF2-HMAC-SHA-256", None), ("TLS", None),
        ("approved", None), ("AES-256-GCM and more", 256), ("not opaque", None),
    ],
)  # fmt: skip
def test_judge_leaves_what_no_row_speaks_of_unknown(algorithm: str, size: int | None) -> None:
    for kind in ("kek", "dek", "signing_key", "tls_certificate", ""):
        result = judged(algorithm, size, kind)
        assert (result.status, result.status_new, result.row) == (Status.UNKNOWN, Status.UNKNOWN, None)
        assert result.sentence


@given(st.text(max_size=90), st.none() | st.integers(0, 70_000), st.sampled_from(["kek", "dek", "ssh_key", ""]))
def test_judge_answers_for_any_text_and_approves_no_small_key(text: str, size: int | None, kind: str) -> None:
    result = judged(text, size, kind)
    assert result.sentence
    if result.row is None:
        assert result.status in {Status.UNKNOWN, Status.NOT_APPLICABLE}
    if result.status_new == Status.APPROVED:
        assert result.security_strength_bits is None or result.security_strength_bits >= 112


# Judgement


def test_judge_says_when_a_status_ends_and_by_what() -> None:
    result = judged("RSA-2048", 2048, "kek")
    assert (result.status, result.status_new, result.is_for_new_keys) == (Status.APPROVED, Status.LEGACY, False)
    assert (result.until, result.next_status, result.changes_on) == (
        date(2030, 12, 31), Status.LEGACY, date(2031, 1, 1),
    )  # fmt: skip
    assert result.is_draft
    assert result.sentence == (
        "RSA-OAEP-256 2048 (key-transport) is approved until 31 December 2030 (draft date), then legacy. For new keys "
        "it is legacy. Source: IR 8547 ipd deprecated after 2030; ASVS 11.2.3; PCI DSS 3.6.1."
    )


def test_judge_has_no_end_where_the_table_has_none() -> None:
    result = judged("AES-256-GCM", 256, "dek")
    assert (result.until, result.next_status, result.changes_on, result.is_draft) == (None, None, None, False)
    assert judged("3DES").until is None
    assert judged("3DES").since == date(2024, 1, 1)


def test_judge_takes_the_strictest_of_padding_and_modulus_on_every_day() -> None:
    """RS256 with 2048 bits: the padding would last until 2035, the modulus ends in 2030 and stays legacy."""
    days = [date(2030, 12, 31), date(2031, 1, 1), date(2035, 12, 31), date(2036, 1, 1)]
    assert [judged("RS256", 2048, day=day).status for day in days] == ["approved", "legacy", "legacy", "legacy"]
    assert [judged("RS256", 4096, day=day).status for day in days] == ["approved", "approved", "approved", "legacy"]
    assert [judged("RS256", 2048, day=day).status_new for day in days] == ["legacy", *["prohibited"] * 3]


def test_every_judgement_keeps_its_promise() -> None:
    """Until the last day the status is that of today; on the next it is the next one. For every sample, day by date."""
    checked = 0
    for kind, text in SAMPLE:
        algorithm, size = algorithm_of(text)
        for day in (date(2023, 12, 31), TODAY, date(2030, 12, 31), date(2031, 1, 1)):
            result = judged(algorithm, size, kind_of(kind), day)
            if result.until is not None and result.changes_on is not None:
                assert judged(algorithm, size, kind_of(kind), result.until).status == result.status
                assert judged(algorithm, size, kind_of(kind), result.changes_on).status == result.next_status
                checked += 1
    assert checked > 30


@pytest.mark.parametrize(
    ("algorithm", "size", "kind", "look", "words"),
    [
        ("AES-256-GCM", 256, "dek", "ok", "approved"),
        ("RSA-3072", 3072, "kek", "ok", "legacy from 2036 (draft date)"),
        ("RSA-2048", 2048, "kek", "soon", "legacy from 2031 (draft date)"),
        ("HMAC-SHA-1", None, "hmac_key", "soon", "legacy from 2031"),
        ("3DES", None, "dek", "soon", "legacy since 2024, not for new keys"),
        ("DSA", None, "ssh_key", "soon", "legacy since 4 February 2023, not for new keys"),
        ("ECDSA P-224", 224, "ssh_key", "soon", "prohibited from 2031 (draft date), not for new keys"),
        ("AES-128-ECB", 128, "dek", "soon", "legacy (draft), not for new keys"),
        ("AES-128-KW", 128, "kek", "soon", "approved for existing keys"),  # for new keys by exception only
        ("DES", None, "dek", "late", "prohibited since 20 May 2005"),
        ("HMAC-MD5", None, "hmac_key", "late", "prohibited"),
        ("FN-DSA-512", None, "signing_key", "soon", "not approved yet (draft)"),
        ("ROT13", None, "dek", "rest", "unknown"),
        ("opaque", None, "api_token", "rest", "no algorithm"),
    ],
)
def test_algorithm_chip_says_it_in_words(algorithm: str, size: int | None, kind: str, look: str, words: str) -> None:
    assert algorithm_chip(judged(algorithm, size, kind)) == (look, words)


# Strength


@pytest.mark.parametrize(
    ("algorithm", "size", "bits"),
    [
        ("RSA-1024", 1024, 80), ("RSA-2048", 2048, 112), ("RSA", 3071, 112), ("RSA-3072", 3072, 128),
        ("RSA-4096", 4096, 128), ("RSA-7680", 7680, 192), ("RSA-15360", 15360, 256), ("RSA", 512, 0),
        ("RSA", None, None),
        ("RS256", None, 112), ("RS256", 3072, 128), ("DSA", 2048, 112), ("DSA", None, None), ("DH", 3072, 128),
        ("ECDSA P-192", 192, 80), ("ECDSA P-224", 224, 112), ("ECDSA P-256", 256, 128), ("ECDSA P-384", 384, 192),
        ("ECDSA P-521", 521, 256), ("ES512", 521, 256), ("ECDH P-256", 256, 128), ("Ed25519", 256, 128),
        ("Ed448", 456, 224),
        ("X25519", 256, 128), ("X448", 448, 224), ("AES-128", 128, 128), ("AES-192-GCM", 192, 192),
        ("AES-256", 256, 256),
        ("AES", 256, 256), ("AES", None, None), ("3DES", None, 112), ("3DES", 112, 80), ("DES", None, 0),
        ("HMAC-SHA-256", None, 256), ("HMAC-SHA-256", 128, 128), ("HMAC-SHA-1", None, 128), ("HMAC-MD5", None, None),
        ("ChaCha20-Poly1305", 256, 256), ("ML-KEM-768", None, 192), ("ML-DSA-87", None, 256), ("opaque", None, None),
        ("ROT13", 256, None),
    ],
)  # fmt: skip
def test_security_strength_is_that_of_sp_800_57(algorithm: str, size: int | None, bits: int | None) -> None:
    assert security_strength(algorithm, size) == bits


def test_is_weaker_compares_a_kek_with_its_deks() -> None:
    """Finding 11: RSA-2048 and RSA-3072 are too weak for AES-256; RSA-15360 and AES-256 are not."""
    dek = security_strength("AES-256-GCM", 256)
    keks = [("RSA-2048", 2048), ("RSA-3072", 3072), ("RSA-4096", 4096), ("RSA-15360", 15360), ("AES-256", 256)]
    assert [is_weaker(security_strength(*kek), dek) for kek in keks] == [True, True, True, False, False]
    assert is_weaker(security_strength("RSA", None), dek) is None
    assert is_weaker(256, None) is None


# What falls when


def used(algorithm: str, size: int | None, kind: str, keys: int, *owners: int) -> InUse:
    facts = Facts(algorithm=algorithm, size_bits=size, kind=kind)
    return InUse(facts=facts, keys=keys, owners=frozenset(owners), without_owner=0)


def test_falls_puts_every_change_on_its_first_day_and_counts_owners_once() -> None:
    in_use = [
        used("RSA-2048", 2048, "kek", 6, 1, 2),
        used("RSA-2048", 2048, "tls_certificate", 11, 2, 3),
        used("HMAC-SHA-1", None, "hmac_key", 7, 3),
        used("ECDSA P-256", 256, "tls_certificate", 8, 4),
        used("AES-256", 256, "kek", 3, 5),
        used("3DES", None, "backup_key", 7, 5),
        used("opaque", None, "api_token", 19, 5),
    ]
    first, second = falls(in_use, ROWS, TODAY)
    assert (first.on, first.keys, first.owners, first.is_draft) == (date(2031, 1, 1), 24, 3, False)
    assert [change.in_use.keys for change in first.changes] == [11, 7, 6]
    assert {change.after.status for change in first.changes} == {Status.LEGACY}
    assert (second.on, second.keys, second.owners, second.is_draft) == (date(2036, 1, 1), 8, 1, True)


def test_falls_follows_an_algorithm_through_all_its_days_and_forgets_those_behind_it() -> None:
    kem = [used("ML-KEM-768", None, "kek", 1, 1), used("RSA-3072", 3072, "kek", 2)]
    assert [fall.on for fall in falls(kem, ROWS, date(2023, 1, 1))] == [date(2024, 8, 14), date(2036, 1, 1)]
    assert [fall.on for fall in falls(kem, ROWS, date(2035, 12, 31))] == [date(2036, 1, 1)]
    assert falls(kem, ROWS, date(2036, 1, 1)) == []
