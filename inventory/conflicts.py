"""Where the written policies contradict each other: a table of five columns, one a policy. Pure.

What follows from the clauses is worked out from those in force, so that it stays true when one is changed. What no
clause can say yet (TLS, log retention, …) is stated here with its R number. Source: docs/policies.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from inventory.policy import Clause
from inventory.terms import Access, Environment, KeyKind, StorageMedium

SOURCES: Mapping[str, str] = {
    "S0": "MCP4.ai",
    "S1": "Actionable Science",
    "S2": "PrecogX",
    "S3": "SmartPresence",
    "S4": "Code Town",
}
# What the strengths of the shipped clauses are in the words of their policies.
_KNOWN_STRENGTHS = {112: "RSA-2048", 128: "RSA-3072", 150: "RSA-4096", 256: "AES-256"}


@dataclass(frozen=True)
class Saying:
    """What one policy says on a topic, and under which number; "" when it says nothing."""

    text: str = ""
    requirements: str = ""
    is_strictest: bool = False


@dataclass(frozen=True)
class Topic:
    """One line of the table."""

    name: str
    sayings: Sequence[Saying]  # in the order of the table's sources
    holds: str  # what holds here: the strictest
    is_computed: bool  # from the clauses in force


@dataclass(frozen=True)
class Table:
    sources: Mapping[str, str]  # short name → what the policy is called; "" for one that did not come with us
    topics: Sequence[Topic]


def disagreements(clauses: Iterable[Clause]) -> Table:
    """Lay the policies side by side, the clauses in force for what follows from them."""
    given = list(clauses)
    sources = {**SOURCES, **{clause.source: "" for clause in given if clause.source not in SOURCES}}
    computed = {
        "Rotation, production": _rotation(given, "Rotation, production", _speaks_of_production),
        "Rotation, staging and test": _rotation(given, "Rotation, staging and test", _speaks_of_tests),
        "Where keys are kept": _storage(given),
        "Strength of a KEK": _strength(given),
    }
    topics = [
        Topic(name, [says.get(source, Saying()) for source in sources], holds, is_computed=True)
        for name, (says, holds) in computed.items()
    ]
    return Table(sources, topics + [_stated(name, sources) for name in _STATED])


# Topics that follow from the clauses

_Says = tuple[dict[str, Saying], str]


def _rotation(clauses: Sequence[Clause], topic: str, speaks: Callable[[Clause], bool]) -> _Says:
    speaking = [clause for clause in clauses if speaks(clause) and (clause.longest_age or clause.on_events)]
    ages = {clause: clause.longest_age.days for clause in speaking if clause.longest_age}
    shortest = min(ages.values(), default=None)
    says = _sayings(topic, speaking, _rhythm, lambda clause: shortest is not None and ages.get(clause) == shortest)
    events = any(clause.on_events for clause in speaking)
    holds = f"every {shortest} days" if shortest else "no age"
    return says, holds + (", and after each of the events" if events else "")


def _speaks_of_production(clause: Clause) -> bool:
    scope = clause.scope
    by_place = not scope.environments or Environment.PRODUCTION in scope.environments
    return by_place and (not scope.access or Access.PRODUCTION in scope.access)


def _speaks_of_tests(clause: Clause) -> bool:
    scope = clause.scope
    places = {Environment.STAGING.value, Environment.TEST.value}
    return not scope.access and (not scope.environments or bool(places & scope.environments))


def _rhythm(clause: Clause) -> str:
    age = [f"every {clause.longest_age.days} days"] if clause.longest_age else []
    return "; ".join([*age, *(f"after {event}" for event in clause.on_events)])


def _storage(clauses: Sequence[Clause]) -> _Says:
    speaking = [clause for clause in clauses if clause.forbidden_media or clause.allowed_media]
    general = [clause for clause in speaking if not clause.scope.kinds]
    most = max((len(clause.forbidden_media) for clause in general), default=0)
    says = _sayings(
        "Where keys are kept",
        speaking,
        _places,
        lambda clause: clause in general and 0 < len(clause.forbidden_media) == most,
    )
    forbidden = {medium for clause in general for medium in clause.forbidden_media}
    contested = forbidden & {medium for clause in speaking for medium in clause.allowed_media}
    exception = f"; {_media(contested)} only as a dated exception" if contested else ""
    return says, (f"never: {_media(forbidden - contested)}" if forbidden - contested else "anywhere") + exception


def _places(clause: Clause) -> str:
    permitted = [f"permitted: {_media(clause.allowed_media)}"] if clause.allowed_media else []
    left = set(StorageMedium.values) - clause.forbidden_media - clause.allowed_media
    never = [f"never: {_media(clause.forbidden_media)}" if left else "nowhere else"] if clause.forbidden_media else []
    return "; ".join(permitted + never)


def _media(media: Iterable[str]) -> str:
    return ", ".join(str(StorageMedium(medium).label) for medium in sorted(media))


def _strength(clauses: Sequence[Clause]) -> _Says:
    speaking = [
        clause
        for clause in clauses
        if clause.smallest_strength_bits and (not clause.scope.kinds or KeyKind.KEK in clause.scope.kinds)
    ]
    greatest = max((clause.smallest_strength_bits or 0 for clause in speaking), default=0)
    says = _sayings("Strength of a KEK", speaking, _bits, lambda clause: clause.smallest_strength_bits == greatest)
    return says, f"{_as_bits(greatest)} or better" if greatest else "no strength"


def _bits(clause: Clause) -> str:
    return f"at least {_as_bits(clause.smallest_strength_bits or 0)}"


def _as_bits(bits: int) -> str:
    return f"{bits} bits ({_KNOWN_STRENGTHS[bits]})" if bits in _KNOWN_STRENGTHS else f"{bits} bits"


def _sayings(
    topic: str,
    clauses: Sequence[Clause],
    words: Callable[[Clause], str],
    is_strictest: Callable[[Clause], bool],
) -> dict[str, Saying]:
    """Put together for each policy what its clauses say, and what it says beside them."""
    said: dict[str, list[tuple[str, str, bool]]] = {}
    for clause in clauses:
        phrase = f"{_whom(clause)}{words(clause)}"
        said.setdefault(clause.source, []).append((phrase, clause.requirement, is_strictest(clause)))
    for source, (text, requirement) in _BESIDE.get(topic, {}).items():
        said.setdefault(source, []).append((text, requirement, False))
    return {
        source: Saying(
            ". ".join(_sentence(phrase) for phrase, _, _ in parts),
            ", ".join(dict.fromkeys(number for _, number, _ in parts if number)),
            any(strictest for _, _, strictest in parts),
        )
        for source, parts in said.items()
    }


def _sentence(phrase: str) -> str:
    return phrase if phrase.startswith("bcrypt") else phrase[:1].upper() + phrase[1:]


def _whom(clause: Clause) -> str:
    kinds = clause.scope.kinds
    if not kinds:
        return ""
    if len(kinds) > len(KeyKind) // 2:
        return "all but " + ", ".join(KeyKind(kind).label for kind in sorted(set(KeyKind.values) - kinds)) + ": "
    return ", ".join(KeyKind(kind).label for kind in sorted(kinds)) + ": "


# What the policies say that no clause carries

_BESIDE: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Rotation, production": {
        "S2": ("supported, no age is named", "R138, R143"),
        "S3": ("by hand, with re-encryption of the data", "R187"),
    },
    "Strength of a KEK": {"S4": ("recognised algorithms only", "R206")},
}

# Topic → what each policy says, what holds, and whose word that is.
_STATED: Mapping[str, tuple[Mapping[str, tuple[str, str]], str, frozenset[str]]] = {
    "Lowest TLS version": (
        {
            "S0": ("1.2, 1.3 preferred", "R9"),
            "S1": ("1.2", "R62"),
            "S2": ("1.3", "R127"),
            "S3": ("1.3", "R184"),
            "S4": ("1.3 on untrusted networks", "R204"),
        },
        "1.3",
        frozenset({"S2", "S3", "S4"}),
    ),
    "How long logs are kept": (
        {
            "S0": ("at least 90 days", "R48"),
            "S1": ("retained, no number", "R89"),
            "S3": ("at least 365 days", "R183"),
        },
        "365 days",
        frozenset({"S3"}),
    ),
    "Clock of an incident": (
        {
            "S0": ("response begins within 24 hours", "R49"),
            "S1": ("at once; loss of a device within 4 hours", "R66, R116"),
            "S2": ("1, 4, 24 or 72 hours by severity", "R174"),
            "S3": ("people are told within 72 hours", "R200"),
        },
        "all of them run side by side",
        frozenset({"S0", "S1", "S2", "S3"}),
    ),
    "Rhythm of audits": (
        {
            "S0": ("every quarter", "R46"),
            "S1": ("every year, transitions every two weeks, a weekly report", "R93, R105, R114"),
            "S2": ("reviews every quarter, a penetration test every year", "R172, R175"),
            "S4": ("regularly", "R215"),
        },
        "each at its own rhythm",
        frozenset({"S0", "S1", "S2"}),
    ),
    "Backup of the master key": (
        {
            "S0": ("offline, two persons", "R29, R30"),
            "S1": ("availability of the KEK first; loss accepted, data taken in again", "R101, R103, R104"),
            "S4": ("backed up securely", "R212"),
        },
        "offline, two persons",
        frozenset({"S0"}),
    ),
    "Password hash and key derivation": (
        {
            "S0": ("bcrypt from cost 12, or Argon2id", "R19"),
            "S2": ("bcrypt; PBKDF2 with 100,000 iterations", "R140"),
        },
        "Argon2id; PBKDF2 with 100,000 iterations counts as low",
        frozenset({"S0"}),
    ),
}  # fmt: skip


def _stated(name: str, sources: Iterable[str]) -> Topic:
    says, holds, strictest = _STATED[name]
    sayings = [
        Saying(_sentence(says[source][0]), says[source][1], source in strictest) if source in says else Saying()
        for source in sources
    ]
    return Topic(name, sayings, holds, is_computed=False)
