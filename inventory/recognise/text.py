"""The text of one cell: cleaned, folded for comparison, quoted safely, and watched for key material."""

import re
import unicodedata

from inventory.recognise import foreign

_SHOWN_CHARACTERS = 40
_LONGEST_FOLDED = 500
_UNKNOWN = frozenset(foreign.listed(foreign.UNKNOWN)) | frozenset(
    {
        "",
        "-",
        "--",
        "\N{EN DASH}",
        "\N{EM DASH}",
        "?",
        "??",
        "n/a",
        "n.a.",
        "na",
        "none",
        "null",
        "unknown",
        "not known",
        "tbd",
    }
)
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffd]")
# Each begins at a fixed word and is bounded or consumes what it may not begin in again, so that none is ever quadratic.
_KEY_MATERIAL = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"
    r"|PuTTY-User-Key-File-|AGE-SECRET-KEY-1|AccountKey=[A-Za-z0-9+/]{20}"
    r"|(?<![A-Z0-9])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])"  # AWS
    r"|(?<![A-Za-z0-9_])(?:gh[pousr]_|github_pat_|glpat-|npm_|hvs\.|sk_live_|rk_live_)[A-Za-z0-9_-]{20}"
    r"|(?<![A-Za-z0-9_])(?:AIza[A-Za-z0-9_-]{35}|sk-(?:ant|proj)-[A-Za-z0-9_-]{20})"
    r"|(?<![A-Za-z0-9_])xox[abeoprs]-[A-Za-z0-9-]{10}"  # Slack
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}"  # a JSON web token
    r"|://[^/\s:@]{0,80}:[^/\s@]{1,200}@"  # a password in a URL
)


class NotUnderstoodError(Exception):
    """One cell says something that is not understood, or that cannot be true. Neither text holds key material."""

    def __init__(self, problem: str, mend: str) -> None:
        self.problem, self.mend = problem, mend
        super().__init__(f"{problem} {mend}")


def clean(text: str) -> str:
    """Strip the text of a cell; refuse characters that a reader cannot see or that a decoder could not read."""
    if unwanted := _UNWANTED.search(text):
        raise NotUnderstoodError(
            f"Character {unwanted.start() + 1} is U+{ord(unwanted[0]):04X}, which has no place in a text.",
            "Delete that character, or type the cell again.",
        )
    return text.replace("\u2028", "\n").replace("\u2029", "\n").strip()


def holds_key_material(text: str) -> bool:
    """Say whether a text looks like a secret itself rather than like words about one."""
    return _KEY_MATERIAL.search(text) is not None


def shown(text: str) -> str:
    """Return a text as a sentence may quote it: one line, at most 40 characters, never key material."""
    line = " ".join(_UNWANTED.sub("\N{REPLACEMENT CHARACTER}", text).split())
    if holds_key_material(line[:_LONGEST_FOLDED]):
        return "(hidden: looks like key material)"
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"


def is_unknown(text: str) -> bool:
    return not text or folded(text) in _UNKNOWN


def folded(text: str) -> str:
    """Return the text as it is compared: compatibility forms and case gone, single spaces.

    One that is longer than any word or name stays as it is: it matches nothing, and folding it is what takes time.
    """
    if len(text) > _LONGEST_FOLDED:
        return text
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def squashed(text: str) -> str:
    """Return the letters and digits alone, for words whose spaces, underscores and punctuation do not matter."""
    return "".join(character for character in folded(text) if character.isalnum())


def at_most(longest: int, what: str, text: str) -> str:
    if len(text) > longest:
        raise NotUnderstoodError(
            f"The {what} has {len(text):,} characters; {longest} is the most.", f"Shorten the {what}."
        )
    return text
