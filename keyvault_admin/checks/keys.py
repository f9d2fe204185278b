"""Checks of the secrets themselves: long enough, drawn at random, each for one purpose, and of this installation."""

import base64
from collections.abc import Mapping
from itertools import pairwise

from django.conf import settings

from keyvault_admin.checks.rules import Answer, Group, Rule
from keyvault_admin.local.engines import read_env

KEY_BYTES = 32
LEAST_DISTINCT = 16  # of 32 random bytes about 30 differ; fewer than 16 is rarer than 1 in 10**13
SECRET_CHARACTERS = 50
SECRET_DISTINCT = 12
PUBLIC_WORDS = (
    "django-insecure",
    "changeme",
    "change-me",
    "change_me",
    "example",
    "no secret",
    "secret-key",
    "secret_key",
)
NEW_KEY = "Make one with: openssl rand -base64 32"
_PRINTABLE = frozenset(range(0x20, 0x7F))


def why_weak(key: bytes) -> str:
    """Return why a key was not drawn at random, or nothing: it proves little, and finds what people type."""
    if len(key) != KEY_BYTES:
        return f"has {len(key) * 8} bits instead of 256"
    if len(set(key)) < LEAST_DISTINCT:
        return f"has only {len(set(key))} different bytes"
    if len({(after - before) % 256 for before, after in pairwise(key)}) == 1:
        return "counts up or down"
    if set(key) <= _PRINTABLE:
        return "is a text, so it was typed and not drawn"
    return ""


def _judged(name: str, key: bytes, mend: str) -> Answer:
    why = why_weak(key)
    return Answer(f"{name} {why}.", mend) if why else Answer(f"{name} has 256 bits and looks random.")


def secret_key() -> Answer:
    """Sessions, forms and messages are signed with it."""
    given, mend = str(settings.SECRET_KEY), "Give at least 50 random characters: openssl rand -base64 48"
    public = next((word for word in PUBLIC_WORDS if word in given.lower()), None)
    if public:
        return Answer(f'SECRET_KEY holds "{public}", as public examples do.', mend)
    if len(given) < SECRET_CHARACTERS:
        return Answer(f"SECRET_KEY has {len(given)} characters; fewer than {SECRET_CHARACTERS} can be guessed.", mend)
    if len(set(given)) < SECRET_DISTINCT:
        return Answer(f"SECRET_KEY has only {len(set(given))} different characters.", mend)
    return Answer(f"SECRET_KEY has {len(given)} characters.")


def sealing_key() -> Answer:
    mend = f'{NEW_KEY}, and see "A new sealing key" in docs/operate.md: what it has sealed is sealed anew.'
    return _judged("KEYVAULT_SEALING_KEY", settings.SEALING_KEY, mend)


def digest_key() -> Answer:
    return _judged(
        "KEYVAULT_DIGEST_KEY", settings.DIGEST_KEY, f'{NEW_KEY}, and see "A new digest key" in docs/operate.md.'
    )


def signing_key() -> Answer:
    """Settings refuse to load in any other process that is given it."""
    if settings.SIGNING_KEY is None:
        return Answer(f"This process ({settings.ROLE}) holds no signing key; the signer alone does.")
    mend = f'{NEW_KEY}, and see "Another key" in docs/checkpoints.md.'
    return _judged("KEYVAULT_SIGNING_KEY", settings.SIGNING_KEY, mend)


def master_key() -> Answer:
    """Settings refuse to load in any other process that is given it."""
    if settings.MASTER_KEY is None:
        return Answer(f"This process ({settings.ROLE}) holds no master key; a worker with a local key store does.")
    mend = f'{NEW_KEY}, and see "Another master key" in docs/key-stores.md.'
    return _judged("KEYVAULT_MASTER_KEY", settings.MASTER_KEY, mend)


def master_key_in_a_file() -> Answer:
    """Whoever may look at a process, or at what a service manager was told, reads its variables."""
    source = settings.SECRET_SOURCES.get("KEYVAULT_MASTER_KEY", "")
    if settings.MASTER_KEY is None or source.startswith("file:"):
        return Answer("The master key is read from a file." if source else "This process holds no master key.")
    return Answer(
        "The master key is given in an environment variable.",
        "Put it into a file that this process alone can read, and name that in KEYVAULT_MASTER_KEY_FILE. Until then, "
        "have an exception with an end decided for the finding on its record (docs/exceptions.md).",
    )


EARLIER = {
    "KEYVAULT_SEALING_KEYS_PREVIOUS": "Run manage.py rotate_sealing_key, and take it out.",
    "KEYVAULT_DIGEST_KEYS_PREVIOUS": "Make anew what is kept under it, as `manage.py digest_epochs` counts, and take "
    "it out.",
}


def earlier_keys() -> Answer:
    """They protect what is still kept under them."""
    given = [(name, number, key) for name in EARLIER for number, key in enumerate(_earlier(name), start=1)]
    for name, number, key in given:
        if why := why_weak(key):
            return Answer(f"Key {number} of {name} {why}.", EARLIER[name])
    return Answer(f"{len(given)} earlier keys look random." if given else "There are no earlier keys.")


def _earlier(name: str) -> list[bytes]:
    return list(getattr(settings, name.removeprefix("KEYVAULT_")))


def one_purpose_each() -> Answer:
    """Whoever gets one of them must not have another."""
    named = [("KEYVAULT_SEALING_KEY", settings.SEALING_KEY), ("KEYVAULT_DIGEST_KEY", settings.DIGEST_KEY)]
    if settings.SIGNING_KEY is not None:
        named.append(("KEYVAULT_SIGNING_KEY", settings.SIGNING_KEY))
    if settings.MASTER_KEY is not None:
        named.append(("KEYVAULT_MASTER_KEY", settings.MASTER_KEY))
    named += [(f"a key of {name}", key) for name in EARLIER for key in _earlier(name)]
    seen: dict[bytes, str] = dict.fromkeys(_forms_of_secret_key(), "SECRET_KEY")
    for name, key in named:
        if key in seen:
            return Answer(
                f"{name[0].upper()}{name[1:]} is the same as {seen[key]}.",
                f"Give each purpose a key of its own. {NEW_KEY}",
            )
        seen[key] = name
    return Answer("No two of the secrets are the same.")


def _forms_of_secret_key() -> list[bytes]:
    given = str(settings.SECRET_KEY)
    try:
        return [given.encode(), base64.b64decode(given, validate=True)]
    except ValueError:  # binascii.Error, and text that is not ASCII
        return [given.encode()]


def not_of_the_demo() -> Answer:
    """What `manage.py up` made lies in a file beside the code, where whoever tried the demo can read it."""
    if settings.IS_LOCAL:
        return Answer("The secrets are those of the embedded engines, which this process uses.")
    demo = read_env(settings.LOCAL_ENV)
    shared = sorted(name for name, text in _given().items() if text and demo.get(name) == text)
    if not shared:
        return Answer("No secret is one of the embedded engines.")
    return Answer(
        f"{' and '.join(shared)} stand in {settings.LOCAL_ENV.name} of the embedded engines too.",
        f"Make new ones for this installation. {NEW_KEY}",
    )


def _given() -> Mapping[str, str]:
    return {
        "SECRET_KEY": str(settings.SECRET_KEY),
        "KEYVAULT_SEALING_KEY": base64.b64encode(settings.SEALING_KEY).decode(),
        "KEYVAULT_DIGEST_KEY": base64.b64encode(settings.DIGEST_KEY).decode(),
    }


RULES = (
    Rule("face.E010", Group.KEYS, "SECRET_KEY is long and random", secret_key),
    Rule("face.E011", Group.KEYS, "the sealing key is random", sealing_key),
    Rule("face.E012", Group.KEYS, "the digest key is random", digest_key),
    Rule("face.E013", Group.KEYS, "earlier keys are random", earlier_keys),
    Rule("face.E014", Group.KEYS, "each secret has one purpose", one_purpose_each),
    Rule("face.E026", Group.KEYS, "the signing key is the signer's alone, and random", signing_key),
    Rule("face.E035", Group.KEYS, "the master key is the worker's alone, and random", master_key),
    Rule("face.W015", Group.KEYS, "the master key is in a file", master_key_in_a_file),
    Rule("face.E015", Group.KEYS, "no secret is that of the demo", not_of_the_demo),
)
