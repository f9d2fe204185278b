"""An event as a line of CEF, the Common Event Format of ArcSight, version 0.

    CEF:0|Keyvault Admin|Keyvault Admin|0.1.0|key.suspended|Key suspended|3|externalId=UUID cn1=12 cn1Label=number …

In the header "\\" and "|" are escaped, in values "\\", "=" and line ends; the header has no line end. `externalId`
and `cn1` (id and number of the event) are the same each time an event is sent: by them a receiver drops a duplicate.
Values are cut to the lengths of the format's dictionary; the log itself has the whole event.
Source: Micro Focus Security ArcSight Common Event Format, version 26 (2020), "Header" and "CEF Key Names".
"""

from datetime import datetime

from audit.body import Body
from audit.exports.product import NAME, VERSION, gravity_of
from audit.selectors import ReadEvent
from audit.sentences import listed

SEVERITY = (3, 5, 7, 9)  # by gravity, of 0 to 10
MOST = {"act": 63, "outcome": 63, "cs1": 4_000, "cs2": 4_000, "cs3": 4_000, "cs4": 4_000}
MOST_OF_OTHERS = 1_023
ENDS = str.maketrans(dict.fromkeys("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


def line(event: ReadEvent) -> str:
    """Return the line, without line end."""
    said = event.said
    action = said.action if said else "event.unreadable"
    words = action.replace(".", " ").replace("_", " ").capitalize()
    head = ("CEF:0", NAME, NAME, VERSION, action, words, str(SEVERITY[gravity_of(said)]))
    values = [f"{name}={_value(name, text)}" for name, text in _extension(event, said) if text]
    return "|".join((head[0], *(_header(text) for text in head[1:]), " ".join(values)))


def _extension(event: ReadEvent, said: Body | None) -> list[tuple[str, str]]:
    pairs = [("cn1", str(event.number)), ("cn1Label", "number"), ("msg", event.sentence)]
    pairs += [("cs1", event.digest.hex()), ("cs1Label", "digest")]
    if event.stamped:
        pairs.append(("rt", _milliseconds(event.stamped.recorded_at)))
    if said:
        pairs += _said(event, said)
    return pairs


def _said(event: ReadEvent, said: Body) -> list[tuple[str, str]]:
    method, _, path = said.path.partition(" ")
    subjects = " ".join(subject.ref for subject in said.subjects)
    return [
        ("externalId", str(said.id)),
        ("start", _milliseconds(said.at)),
        ("act", said.action),
        ("outcome", said.outcome),
        ("reason", said.reason),
        ("suid", said.actor_id),
        ("suser", event.identity.name if event.identity else ""),
        ("spriv", said.actor_role),
        ("src", event.identity.address if event.identity else ""),
        ("requestMethod", method if path else ""),
        ("request", path or method),
        *_labelled("cs2", "subjects", subjects),
        *_labelled("cs3", "on behalf of", said.on_behalf_of),
        *_labelled("cs4", "about", listed(said.subjects) if said.subjects else ""),
        *_labelled("cs5", "verified by", said.verified_by),
    ]


def _labelled(name: str, label: str, text: str) -> list[tuple[str, str]]:
    return [(name, text), (f"{name}Label", label)] if text else []


def _header(text: str) -> str:
    return text.translate(ENDS).replace("\\", "\\\\").replace("|", "\\|")


def _value(name: str, text: str) -> str:
    most = MOST.get(name, MOST_OF_OTHERS)
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    text = text.replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")
    return text.translate(ENDS)


def _milliseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))
