"""Several names in one cell: separated by ";", "," or line breaks, in double quotes where a name holds one of these."""

import re
from collections.abc import Callable, Iterable

from inventory.recognise.text import NotUnderstoodError, at_most, is_unknown, shown

_NAME = re.compile(r'[^\S\n]*+(?:"((?:[^"]|"")*+)"|([^\s";,][^;,\n]*+)|)[^\S\n]*+(?:[;,\n]|\Z)')
_NEEDS_QUOTES = re.compile(r'[;,"\n]|^\s|\s$')
_MEND = 'Separate names with ";" or ",", and put a name that holds one of them in double quotes.'


def several_of(what: str, text: str) -> tuple[str, ...]:
    """Read names, exact but for the blanks around them, each once and in order. Within quotes "" stands for a quote."""
    return () if is_unknown(text) else tuple(sorted({_checked(what, name) for name in _names(what, text)}))


def exact_of(text: str) -> str:
    """Return the name that a cell holds in double quotes, "" for every other cell."""
    found = _NAME.fullmatch(text)
    return found[1].replace('""', '"') if found and found[1] else ""


def written(names: Iterable[str], is_plain: Callable[[str], bool] = lambda _name: True) -> str:
    """Write names as several_of() reads them; those that are not plain are quoted too."""
    return "; ".join(
        name
        if is_plain(name) and not is_unknown(name) and not _NEEDS_QUOTES.search(name)
        else '"' + name.replace('"', '""') + '"'
        for name in sorted(names)
    )


def _names(what: str, text: str) -> Iterable[str]:
    place = 0
    while place < len(text):
        found = _NAME.match(text, place)
        if found is None:
            raise NotUnderstoodError(f'"{shown(text)}" is no list of {what}s that is understood here.', _MEND)
        place = found.end()
        if name := found[1].replace('""', '"') if found[1] is not None else (found[2] or "").strip():
            yield name


def _checked(what: str, name: str) -> str:
    if "\n" in name or "\t" in name:
        raise NotUnderstoodError(f"A name of a {what} holds a line break or a tab.", "Write each name in one line.")
    return at_most(200, f"name of a {what}", name)
