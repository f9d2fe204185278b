"""How a description is shown, wherever somebody looks before a request is asked, voted on or carried out."""

import re
from dataclasses import replace

from rotation.operations.base import Description, Line, Link

_TURNING = re.compile(
    "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)  # UAX #9: marks, embeddings, overrides, isolates


def as_shown(said: Description) -> Description:
    """Return a description as pages show it; lines that are looked up only when they are read are read here."""
    return Description(
        title=visible(said.title),
        sentences=[visible(sentence) for sentence in said.sentences],
        lines=[_line(line) for line in said.lines],
    )


def _line(line: Line) -> Line:
    """Return a line; what stays as it was stands beside the changes, not among them."""
    before = "" if line.before == line.text else visible(line.before)
    links = [Link(visible(link.text), safe_url(link.url)) for link in line.links]
    return replace(line, text=visible(line.text), before=before, url=safe_url(line.url), links=links)


def visible(text: str) -> str:
    """Return text whose reading order nobody has turned round: characters that would do that are named instead."""
    return _TURNING.sub(lambda found: f"⟦U+{ord(found[0]):04X}⟧", text)


def safe_url(url: str) -> str:
    """Return an address that may stand in a link: of this site or of the web; else nothing."""
    is_local = url.startswith("/") and not url.startswith(("//", "/\\"))
    return url if is_local or url.startswith(("https://", "http://")) else ""
