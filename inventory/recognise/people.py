"""People and teams by handle or mail address, and services by their short name."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from inventory.recognise.several import exact_of
from inventory.recognise.text import NotUnderstoodError, at_most, folded, is_unknown, shown

_LONGEST_MAIL = 254  # RFC 5321 §4.5.3.1.3, without the angle brackets
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])")
_NAME_AND_MAIL = re.compile(r"[^<>]*<([^<>]*)>")
_SEVERAL = re.compile(r"[,;&\n]| and ")
_ONE_PERSON = "Write one person or team: @handle, handle or handle@example.com."
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_WORD = re.compile(r"\w(?:[\w.-]{0,98}\w)?")
_SLUG_AND_PURPOSE = re.compile(rf"({_SLUG.pattern}):\s+(\S.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonRef:
    """Somebody as a file names them: both parts normalised (NFKC, case-folded, stripped), the mail "" if not given.

    The handle of a mail address is what stands before its @.
    """

    handle: str
    mail: str


def person_of(text: str) -> PersonRef | None:
    """Read one person or team: "@handle", "handle", "handle@example.com", "Name <mail>" or a plain name."""
    if is_unknown(text):
        return None
    named = _NAME_AND_MAIL.fullmatch(text)
    address = (named[1] if named else text).strip()
    if len(address) <= _LONGEST_MAIL and _MAIL.fullmatch(address):
        mail = address.lower()
        return PersonRef(handle=mail.partition("@")[0], mail=mail)
    if named or not _is_handle(text.removeprefix("@")):
        raise NotUnderstoodError(f'"{shown(text)}" is no person or team that is understood here.', _ONE_PERSON)
    if _SEVERAL.search(text):
        raise NotUnderstoodError(f'"{shown(text)}" may name more than one person.', _ONE_PERSON)
    return PersonRef(handle=at_most(200, "name of a person", folded(text.removeprefix("@"))), mail="")


def _is_handle(text: str) -> bool:
    """Say whether a text can stand for a person: some letter or digit, no sign of a broken address.

    Its folded form must be lower case too, as the database demands; a few letters of rare scripts fold upwards.
    """
    handle = folded(text)
    return any(one.isalnum() for one in handle) and not set(handle) & set('@<>"') and handle == handle.lower()


def merge_people(refs: Iterable[PersonRef], known: Mapping[str, AbstractSet[str]]) -> dict[PersonRef, PersonRef]:
    """Map everybody a file names to whom they are: a bare handle is the only address with that handle, if there is one.

    `known` holds the mail addresses that the inventory knows for a handle: of every owner with that handle, and of
    every owner whose address begins with it. Where two addresses share a handle, the bare handle stays on its own.
    """
    named = set(refs)
    mails: dict[str, set[str]] = defaultdict(set)
    for ref in named:
        mails[ref.handle] |= ({ref.mail} if ref.mail else set()) | known.get(ref.handle, frozenset())
    return {
        ref: PersonRef(handle=ref.handle, mail=next(iter(mails[ref.handle]))) if len(mails[ref.handle]) == 1 else ref
        for ref in named
    }


def service_of(service: str, description: str, purpose: str) -> tuple[str, str]:
    """Read the short name of a service and what the key is for there, from three columns.

    "voice-ingest: signs sessions" names the service and the purpose in one cell; a column of services may hold one word
    alone ("Lager"), or any name in double quotes. Prose is never searched for a name: it is kept as the purpose.
    """
    cells = ["" if is_unknown(text) else text for text in (service, description, purpose)]
    if is_short_name(cells[0]) or exact_of(cells[0]):
        name, cells[0] = exact_of(cells[0]) or cells[0], ""
        return name, _joined(cells)
    for index in (0, 1):
        if found := _SLUG_AND_PURPOSE.fullmatch(cells[index]):
            cells[index] = found[2]
            return found[1], _joined(cells)
    return "", _joined(cells)


def is_short_name(text: str) -> bool:
    """Say whether a text in a column of services is a name there without quotes: one word of any script."""
    return _WORD.fullmatch(text) is not None


def _joined(cells: Iterable[str]) -> str:
    return "\n".join(text for text in dict.fromkeys(cells) if text)
