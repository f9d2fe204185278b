"""Words as people write them, each with what it must come out as or why it is refused."""

from datetime import date

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inventory.recognise import (
    NotUnderstoodError,
    PersonRef,
    access_of,
    algorithm_of,
    classification_of,
    clean,
    date_of,
    environment_of,
    field_of,
    flag_of,
    holds_key_material,
    kind_of,
    last_rotation_of,
    merge_people,
    name_of,
    person_of,
    service_of,
    shown,
    size_of,
    storage_of,
)
from inventory.terms import KeyKind

TODAY = date(2026, 11, 21)


def said(recognise: object, *args: object, **options: object) -> NotUnderstoodError:
    with pytest.raises(NotUnderstoodError) as caught:
        recognise(*args, **options)  # type: ignore[operator]
    assert caught.value.problem
    assert caught.value.mend
    return caught.value


# Headers


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("Name", "name"),
        ("KEY_NAME", "name"),
        ("token", "name"),
        ("Key Creator", "creator"),
        ("created-by", "creator"),
        ("Service description", "service_description"),
        ("System", "service"),
        ("Creation Date", "created_on"),
        ("Created at:", "created_on"),
        ("date_created", "created_on"),
        ("Last rotated date", "last_rotated_on"),
        ("Rotated", "last_rotated_on"),
        ("Current Key Owner", "owner"),
        ("Owner(s)", "owner"),
        ("Responsible", "owner"),
        ("Env.", "environment"),
        ("Stage", "environment"),
        ("Type", "kind"),
        ("Key type *", "kind"),
        ("Cipher", "algorithm"),
        ("Where stored?", "storage"),
        ("Stored in", "storage"),
        ("Access to production or customer data", "access"),
        ("Prod access", "access_production"),
        ("Access to customer-confidential data", "access_customer"),
        ("Data class", "classification"),
        ("Comments", "notes"),
        ("Key size (bits)", "size_bits"),
        ("Favourite colour", ""),
        ("", ""),
        ("?", ""),
        ("s", ""),
    ],
)
def test_field_of_knows_headers_in_other_words(header: str, field: str) -> None:
    assert field_of(header) == field


# Texts


def test_clean_strips_and_keeps_line_breaks() -> None:
    assert clean("\u00a0 a\tb\n\u2028c ") == "a\tb\n\nc"


@pytest.mark.parametrize("character", ["\0", "\x07", "\x0b", "\x1b", "\x7f", "\x85", "\u202e", "\u2066", "\ufffd"])
def test_clean_refuses_what_nobody_can_see_or_read(character: str) -> None:
    error = said(clean, f"ab{character}c")
    assert f"Character 3 is U+{ord(character):04X}" in error.problem
    assert character not in error.problem


SECRETS = [
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----",
    "key AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "1" * 22 + "_x",
    "xoxb-" + "123456789012-abcdef",
    "xoxp-" + "123456789012-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "postgres://app:hunter2@db.example/main",
    "AGE-SECRET-KEY-1QQQ",
    "glpat-" + "x" * 20,
]
HARMLESS = [
    "billing/ghp_token",
    "https://vault.example:8200/v1/transit/keys/a@b",
    "mailto:j.silva@example.com",
    "-----BEGIN CERTIFICATE-----",
    "azurekv://platform/keys/kek-5",
    "rotate AKIA keys",
    "eyJ.eyJ",
]


@pytest.mark.parametrize("text", SECRETS)
def test_holds_key_material_finds_secrets_and_shown_never_quotes_them(text: str) -> None:
    assert holds_key_material(f"see {text}, or")
    assert text[:9] not in shown(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_holds_key_material_leaves_words_about_keys_alone(text: str) -> None:
    assert not holds_key_material(text)


def test_shown_quotes_one_line_of_forty_characters() -> None:
    assert shown("a\n b\x07") == "a b\N{REPLACEMENT CHARACTER}"
    assert shown("x" * 40) == "x" * 40
    assert shown("x" * 41) == "x" * 39 + "…"


@pytest.mark.parametrize("name", ['=HYPERLINK("http://evil.example","x")', "A/b", "a  b", "ключ", "-a", "x" * 200])
def test_name_of_keeps_a_name_exactly(name: str) -> None:
    assert name_of(name) == name


@pytest.mark.parametrize("name", ["", "-", "N/A", "a\nb", "a\tb", "a\u200bb", "a\ufeffb", "x" * 201])
def test_name_of_refuses_what_cannot_be_recognised_again(name: str) -> None:
    said(name_of, name)


# Vocabulary


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("DB password", "database_credential"),
        ("TLS certificate", "tls_certificate"),
        ("HMAC secret", "hmac_key"),
        ("JWT signing key", "signing_key"),
        ("SSH key", "ssh_key"),
        ("Backup encryption key", "backup_key"),
        ("Personal access token", "personal_token"),
        ("DEK", "dek"),
        ("Data-Encryption Key", "dek"),
        ("kek", "kek"),
        ("API tokens", "api_token"),
        ("api_key", "api_token"),
        ("Webhook secret", "webhook_secret"),
        ("root CA", "ca_certificate"),
        ("SSL cert", "tls_certificate"),
    ],
)
def test_kind_of_knows_kinds_in_other_words(text: str, kind: str) -> None:
    assert kind_of(text) == kind


@pytest.mark.parametrize("kind", KeyKind)
def test_kind_of_knows_its_own_words(kind: KeyKind) -> None:
    assert kind_of(kind.value) == kind_of(kind.label.upper()) == kind.value


@pytest.mark.parametrize("text", ["", "?", "secret", "certificate", "API token, SSH key"])
def test_kind_of_refuses_with_the_words_it_understands(text: str) -> None:
    mend = said(kind_of, text).mend
    assert "KEK" in mend
    assert "SSH key" in mend


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("PROD", "production"),
        ("Production", "production"),
        ("stage", "staging"),
        ("pre-prod", "staging"),
        ("QA", "test"),
        ("Dev", "development"),
        ("", ""),
        ("—", ""),
    ],
)
def test_environment_of(text: str, environment: str) -> None:
    assert environment_of(text) == environment


@pytest.mark.parametrize("text", ["prod, staging", "moon", "produktionen"])
def test_environment_of_refuses_other_words(text: str) -> None:
    assert "production, staging" in said(environment_of, text).mend


def test_classification_of() -> None:
    assert [classification_of(text) for text in ("Restricted", "INTERNAL use", "confidential", "Public", "n/a")] == [
        "restricted", "internal", "confidential", "public", "",
    ]  # fmt: skip
    said(classification_of, "cosmic")


@pytest.mark.parametrize(
    ("text", "medium"),
    [
        ("Azure Key Vault", "key_vault"),
        ("HashiCorp Vault", "key_vault"),
        ("AWS Secrets Manager", "secrets_manager"),
        ("HSM slot 2", "hsm"),
        ("1Password", "password_manager"),
        ("1Password vault", "password_manager"),
        ("GitHub Actions secrets", "ci_secrets"),
        ("Kubernetes secret (legacy)", "kubernetes_secret"),
        ("env var", "environment_variable"),
        (".env on server", "file"),
        (".env", "file"),
        ("in git", "source_control"),
        ("our repository", "source_control"),
        ("https://keys.vault.azure.net/keys/a", "key_vault"),
        ("arn:aws:kms:eu-west-1:1:key/2", "key_vault"),
        ("digital thing", "other"),
        ("Bob's head", "other"),
    ],
)
def test_storage_of_names_the_medium_and_keeps_the_words(text: str, medium: str) -> None:
    assert storage_of(text) == (medium, text)


def test_storage_of_says_nothing_for_an_unknown_place() -> None:
    assert storage_of("?") == ("", "")


@pytest.mark.parametrize("text", ["yes", "Yes", "✓", "✔\ufe0f", "TRUE", "x", "1"])
def test_flag_of_reads_yes(text: str) -> None:
    assert flag_of(text) is True


@pytest.mark.parametrize("text", ["no", "No", "✗", "false", "0"])
def test_flag_of_reads_no(text: str) -> None:
    assert flag_of(text) is False


def test_flag_of_reads_blanks_and_refuses_the_rest() -> None:
    assert flag_of("") is flag_of("-") is None
    said(flag_of, "maybe")


@pytest.mark.parametrize(
    ("text", "others", "access"),
    [
        ("yes", (None, None), "either"),
        ("no", (None, None), "none"),
        ("", (None, None), ""),
        ("", (True, None), "production"),
        ("", (None, True), "customer"),
        ("", (True, True), "both"),
        ("", (True, False), "production"),
        ("", (False, False), "none"),
        ("", (False, None), ""),
        ("yes", (False, None), "either"),
        ("yes", (None, True), "customer"),
        ("no", (False, None), "none"),
        ("Both", (None, None), "both"),
        ("none", (None, None), "none"),
        ("production", (None, True), "both"),
    ],
)
def test_access_of_combines_three_columns(text: str, others: tuple[bool | None, bool | None], access: str) -> None:
    production, customer = others
    assert access_of(text, production=production, customer=customer) == access


@pytest.mark.parametrize(
    ("text", "others"),
    [("no", (True, None)), ("yes", (False, False)), ("none", (None, True)), ("production", (False, None))],
)
def test_access_of_refuses_contradictions(text: str, others: tuple[bool | None, bool | None]) -> None:
    production, customer = others
    assert "contradict" in said(access_of, text, production=production, customer=customer).problem


# Dates


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-15", date(2026, 11, 15)),
        ("2026-1-5", date(2026, 1, 5)),
        ("2026/01/05", date(2026, 1, 5)),
        ("August 30, 2024", date(2024, 8, 30)),
        ("Aug 30, 2024", date(2024, 8, 30)),
        ("Sept. 3rd, 2024", date(2024, 9, 3)),
        ("30 August 2024", date(2024, 8, 30)),
        ("30-Aug-2024", date(2024, 8, 30)),
        ("1st may 2024", date(2024, 5, 1)),
        ("November 20, 2023 3:14 PM", date(2023, 11, 20)),
        ("November 20, 2023 3:14\u202fPM (GMT+1)", date(2023, 11, 20)),
        ("2026-11-15T10:00:00Z", date(2026, 11, 15)),
        ("2026-11-15 23:59:59.123456+02:00", date(2026, 11, 15)),
        ("23/05/2025", date(2025, 5, 23)),
        ("05/23/2025", date(2025, 5, 23)),
        ("5.5.2025", date(2025, 5, 5)),
        ("29/02/2024", date(2024, 2, 29)),
        ("\uff12\uff10\uff12\uff16-11-15", date(2026, 11, 15)),
        ("2026-11-21", TODAY),
        ("", None),
        ("N/A", None),
        ("-", None),
        ("—", None),
        ("Unknown", None),
        ("?", None),
    ],
)
def test_date_of_reads_the_forms_of_spreadsheets(text: str, day: date | None) -> None:
    assert date_of(text, today=TODAY) == day


def test_date_of_refuses_a_date_with_two_readings_and_names_both() -> None:
    error = said(date_of, "05/06/2025", today=TODAY)
    assert "05/06/2025" in error.problem
    assert "2025-06-05 or 2025-05-06" in error.mend


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("31/02/2025", "no such day"),
        ("2025-02-29", "no such day"),
        ("13/13/2025", "no such day"),
        ("00/00/2025", "no such day"),
        ("0000-01-01", "no such day"),
        ("February 30, 2025", "no such day"),
        ("2026-11-22", "after today"),
        ("Nov 22, 2026 1:00 AM", "after today"),
        ("0202-05-01", "before 1970"),
        ("23/05/25", "two digits"),
        ("Aug 30, 24", "two digits"),
        ("30-Aug-24", "two digits"),
        ("August 2024", "no date"),
        ("2024", "no date"),
        ("45534", "no date"),
        ("last spring", "no date"),
        ("never", "no date"),
        ("2024-08-30 → 2024-09-01", "no date"),
        ("2024-08-30 25:00", "no date"),
        ("2024-08-30 13:00 PM", "no date"),
        ("Mai 3, 2024", "no date"),
        ("2024-08/30", "no date"),
        ("2" * 500, "no date"),
    ],
)
def test_date_of_says_why_a_date_is_refused(text: str, words: str) -> None:
    assert words in said(date_of, text, today=TODAY).problem


def test_last_rotation_of_tells_never_from_unknown() -> None:
    assert last_rotation_of("Never", today=TODAY) == (None, True)
    assert last_rotation_of("N/A", today=TODAY) == (None, False)
    assert last_rotation_of("2026-01-02", today=TODAY) == (date(2026, 1, 2), False)


@given(st.text(max_size=30) | st.text(alphabet="0123456789/-. :,TZapmAug+", max_size=30))
@settings(deadline=None, max_examples=400)
@example("\u0663\u0660/05/2024")  # Arabic digits
@example("9999-12-31")
def test_date_of_is_total(text: str) -> None:
    try:
        day = date_of(text, today=TODAY)
    except NotUnderstoodError as error:
        assert all([error.problem, error.mend])  # noqa: PT017 - either end is right
    else:
        assert day is None or day <= TODAY


@given(st.dates(min_value=date(1970, 1, 1), max_value=TODAY))
def test_date_of_never_takes_one_day_for_another(day: date) -> None:
    for form in ("%Y-%m-%d", "%B %d, %Y", "%d %b %Y", "%Y-%m-%dT%H:%M:%SZ"):
        assert date_of(day.strftime(form), today=TODAY) == day
    try:
        assert date_of(day.strftime("%d/%m/%Y"), today=TODAY) == day
    except NotUnderstoodError:
        assert day.day <= 12
        assert day.day != day.month


# Algorithms


@pytest.mark.parametrize(
    ("text", "algorithm", "bits"),
    [
        ("AES-256-GCM", "AES-256-GCM", 256),
        ("aes256gcm", "AES-256-GCM", 256),
        ("AES-256", "AES-256", 256),
        ("RSA-2048", "RSA-2048", 2048),
        ("rsa 4096 bit", "RSA-4096", 4096),
        ("ECDSA P-256", "ECDSA P-256", 256),
        ("ES256", "ES256", 256),
        ("RS256", "RS256", None),
        ("hs256", "HS256", None),
        ("HMAC-SHA256", "HMAC-SHA-256", None),
        ("HMAC-SHA1", "HMAC-SHA-1", None),
        ("HMAC-MD5", "HMAC-MD5", None),
        ("3DES", "3DES", None),
        ("DSA", "DSA", None),
        ("ed25519", "Ed25519", 256),
        ("Opaque", "opaque", None),
        ("Rot 13\n(twice)", "Rot 13 (twice)", None),
        ("N/A", "", None),
        ("", "", None),
    ],
)
def test_algorithm_of_uses_the_known_name(text: str, algorithm: str, bits: int | None) -> None:
    assert algorithm_of(text) == (algorithm, bits)


def test_size_of() -> None:
    assert [size_of(text) for text in ("2048", "256 bits", "4,096", "?")] == [2048, 256, 4096, None]
    for text in ("large", "0", "00", "9999999", "128 bytes"):
        said(size_of, text)


# People and services


@pytest.mark.parametrize(
    ("text", "handle", "mail"),
    [
        ("@j.silva", "j.silva", ""),
        ("J.Silva ", "j.silva", ""),
        ("j.silva@example.com", "j.silva", "j.silva@example.com"),
        ("J.Silva@Example.com", "j.silva", "j.silva@example.com"),
        ("Jane Silva <j.silva@example.com>", "j.silva", "j.silva@example.com"),
        ("<j.silva@example.com>", "j.silva", "j.silva@example.com"),
        ("Jane  Silva", "jane silva", ""),
        ("@Jane Silva", "jane silva", ""),
        ("\uff2a\uff41\uff4eE", "jane", ""),
        ("Großmann", "grossmann", ""),
        ("security-team", "security-team", ""),
    ],
)
def test_person_of_reads_handles_addresses_and_names(text: str, handle: str, mail: str) -> None:
    assert person_of(text) == PersonRef(handle=handle, mail=mail)


@pytest.mark.parametrize("text", ["", "-", "N/A", "unknown", "?"])
def test_person_of_knows_nobody(text: str) -> None:
    assert person_of(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "@",
        "@@x",
        "a@b",
        "a b@example.com",
        "a@example.com b@example.com",
        "a@example.com, b@example.com",
        "Jane, Bob",
        "Jane and Bob",
        "Jane\nBob",
        "Jane <jane>",
        "jane <j@example.com",
        "x@exämple.com",
        "\u212aim@example.com",  # the sign for kelvin, which folds to k
        "a..b@example.com",
        "a@example.com\u2028Bcc: x",
        "a" * 65 + "@" + "b" * 300 + ".com",
        "\uab70",  # folds to a capital, which the database would not call normalised
        "!!!",
        "x" * 201,
    ],
)
def test_person_of_refuses_what_is_not_one_person(text: str) -> None:
    said(person_of, text)


@given(st.text(max_size=20))
def test_person_of_gives_normalised_parts(text: str) -> None:
    try:
        ref = person_of(text)
    except NotUnderstoodError:
        return
    assert ref is None or (ref.handle and ref.handle == ref.handle.lower().strip() and ref.mail == ref.mail.lower())


def ref(handle: str, mail: str = "") -> PersonRef:
    return PersonRef(handle=handle, mail=mail)


X, X_AT_A, X_AT_B, Y = ref("x"), ref("x", "x@a.example"), ref("x", "x@b.example"), ref("y")


def test_merge_people_gives_a_handle_the_only_address_of_the_file() -> None:
    assert merge_people([X, X_AT_A, Y], {}) == {X: X_AT_A, X_AT_A: X_AT_A, Y: Y}


def test_merge_people_gives_a_handle_the_only_address_of_the_inventory() -> None:
    assert merge_people([X, Y], {"x": {"x@a.example"}, "y": set()}) == {X: X_AT_A, Y: Y}


def test_merge_people_keeps_a_bare_handle_alone_between_two_addresses() -> None:
    assert merge_people([X, X_AT_A, X_AT_B], {}) == {X: X, X_AT_A: X_AT_A, X_AT_B: X_AT_B}
    assert merge_people([X, X_AT_B], {"x": {"x@a.example"}}) == {X: X, X_AT_B: X_AT_B}


def test_merge_people_changes_nothing_that_it_was_given() -> None:
    known = {"x": {"x@a.example"}}
    merge_people([X_AT_B], known)
    assert known == {"x": {"x@a.example"}}


@pytest.mark.parametrize(
    ("cells", "service", "purpose"),
    [
        (("", "voice-ingest: signs sessions", ""), "voice-ingest", "signs sessions"),
        (("voice-ingest: signs sessions", "", ""), "voice-ingest", "signs sessions"),
        (("voice-ingest", "", ""), "voice-ingest", ""),
        (("Zahlungsabwicklung", "", ""), "Zahlungsabwicklung", ""),
        (("Büro.Köln-2", "", ""), "Büro.Köln-2", ""),
        (("Signs sessions", "", ""), "", "Signs sessions"),
        (("voice-ingest", "signs sessions", ""), "voice-ingest", "signs sessions"),
        (("", "voice-ingest", ""), "", "voice-ingest"),
        (("", "café “x”, with, commas\nand: more", ""), "", "café “x”, with, commas\nand: more"),
        (("", "Signs sessions: all of them", ""), "", "Signs sessions: all of them"),
        (("", "https://a.example", ""), "", "https://a.example"),
        (("", "", "api: signs"), "", "api: signs"),
        (("", "api: signs", "more"), "api", "signs\nmore"),
        (("", "api:\nsigns", ""), "api", "signs"),
        (("N/A", "-", "?"), "", ""),
    ],
)
def test_service_of_never_guesses_from_prose(cells: tuple[str, str, str], service: str, purpose: str) -> None:
    assert service_of(*cells) == (service, purpose)
