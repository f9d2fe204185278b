"""One normal form for user names and mail addresses, the same at sign-in, for uniqueness and for lockout. Pure."""

import re
import unicodedata

from keyvault_admin.access.errors import NameRefusedError

# The database repeats both patterns as constraints. ASCII alone, so that no two names look alike.
USERNAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"
TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])  # Unicode Standard Annex #9
ERASED_HOST = "erased.invalid"  # RFC 2606: no mail ever arrives there
ERASED_NAME = "Erased person"
MAIL_PATTERN = r"^[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9]([a-z0-9.-]{0,188}[a-z0-9])?$"


def normalise(text: str) -> str:
    """Return the text in NFKC, case-folded and without surrounding white space; the same for every way to type it.

    Source: Unicode Standard Annex #15; case folding after NFKC is no longer NFKC, hence the second pass.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def full_name_of(text: str) -> str:
    """Return a name as people write it, on one line, and without the marks that turn the direction of a text about.

    It stands in mails and beside events, where it must neither begin another line nor make a line read otherwise.
    """
    return " ".join(unicodedata.normalize("NFC", text).translate(TURNING).split())


def username_of(text: str) -> str:
    """Return the user name that the text stands for.

    Raises: NameRefusedError.
    """
    name = normalise(text)
    if not re.fullmatch(USERNAME_PATTERN[1:-1], name):
        raise NameRefusedError(
            "A user name has at most 64 characters: letters a to z, digits, and dot, hyphen or underscore in between."
        )
    return name


def mail_of(text: str) -> str:
    """Return the mail address that the text stands for.

    Raises: NameRefusedError.
    """
    mail = normalise(text)
    if mail.endswith(f"@{ERASED_HOST}"):
        raise NameRefusedError("Addresses of this host stand for people who were erased.")
    if not re.fullmatch(MAIL_PATTERN[1:-1], mail):
        raise NameRefusedError("This is no mail address: give it as name@host, without spaces or accents.")
    return mail


def erased_names(pk: int) -> tuple[str, str]:
    """Return the user name and the mail address that an erased person's record has: unique, and nobody's."""
    return f"erased-{pk}", f"erased-{pk}@{ERASED_HOST}"
