"""Pictures drawn on the server: the versions of a KEK in a row, and how its DEKs are spread over them."""

from collections.abc import Sequence
from dataclasses import dataclass

from inventory.terms import StoreStatus
from rotation.custody_pages.wording import deks_words, figure, percent, version_chips
from rotation.custody_selectors.keks import VersionFacts
from rotation.models import RewrapJob

CARD, GAP, HEIGHT = 148, 36, 112
BELOW = 44  # room for the arrows under the cards
DROP = 22  # how far below a card an arrow runs
BAR = CARD - 28
MOST_CARDS = 6
SPREAD = 160  # width of the bar in the list
LEAST = 3  # pixels: what is there is seen
_LOOKS = {
    StoreStatus.DISABLED: "hold",
    StoreStatus.SCHEDULED: "soon",
    StoreStatus.GONE: "rest",
}


@dataclass(frozen=True)
class Card:
    """One version. Positions are those of the drawing."""

    version: VersionFacts
    x: int
    look: str  # a class of the stylesheet
    figure: str
    label: str  # below the figure
    status: str
    share: int  # width of its bar

    @property
    def left(self) -> int:
        return self.x + 14

    @property
    def right(self) -> int:
        return self.x + CARD - 14


@dataclass(frozen=True)
class Arrow:
    """The re-wrap, from a card to the target's."""

    path: str
    head: str  # points of the triangle


@dataclass(frozen=True)
class Versions:
    """The picture of a KEK. `text` says the same."""

    cards: Sequence[Card]
    arrows: Sequence[Arrow]
    note: str  # beside the arrows
    note_x: int
    width: int
    height: int
    earlier: int  # versions that have no card
    text: str


def versions_picture(versions: Sequence[VersionFacts], job: RewrapJob | None) -> Versions:
    """Lay out the versions of a KEK, the newest on the left; the last ones, and earlier ones that still have DEKs."""
    shown = _chosen(versions)
    total = sum(one.deks for one in versions) or 1
    cards = [_card(one, number, total) for number, one in enumerate(reversed(shown))]
    arrows, note_x = _arrows(cards, job)
    width = len(cards) * (CARD + GAP) - GAP if cards else CARD
    return Versions(
        cards=cards,
        arrows=arrows,
        note=f"re-wrap, {percent(job)} %" if job and arrows else "",
        note_x=note_x,
        width=width,
        height=HEIGHT + (BELOW if arrows else 0),
        earlier=len(versions) - len(shown),
        text=_text(versions, job),
    )


def _chosen(versions: Sequence[VersionFacts]) -> list[VersionFacts]:
    last = {one.row.pk for one in versions[-MOST_CARDS:]}
    wanted = [one for one in versions if one.row.pk in last or one.deks]
    return wanted[-2 * MOST_CARDS :]


def _card(version: VersionFacts, number: int, total: int) -> Card:
    share = max(round(BAR * version.deks / total), LEAST) if version.deks else 0
    return Card(
        version=version,
        x=number * (CARD + GAP),
        look="run" if version.is_primary else _LOOKS.get(StoreStatus(version.row.status), ""),
        figure=figure(version.deks) if version.deks else "0",
        label="DEK under it" if version.deks == 1 else "DEKs under it",
        status=_status(version),
        share=share,
    )


def _status(version: VersionFacts) -> str:
    row = version.row
    if version.is_primary:
        return "takes the new wraps"
    if row.status == StoreStatus.SCHEDULED and row.scheduled_for:
        return f"ends {row.scheduled_for:%-d %b %Y}"
    if row.status != StoreStatus.ENABLED:
        return str(StoreStatus(row.status).label)
    return "closed to wraps" if not version.is_open else "opens, no new wraps"


def _arrows(cards: Sequence[Card], job: RewrapJob | None) -> tuple[list[Arrow], int]:
    target = next((card for card in cards if job and card.version.row.pk == job.target_id), None)
    if target is None:
        return [], 0
    old = [card for card in cards if card.version.deks and card.x > target.x]
    end = target.x + CARD // 2
    top, low = HEIGHT + 2, HEIGHT + DROP
    head = f"{end - 5},{top + 8} {end + 5},{top + 8} {end},{top}"
    found = [
        Arrow(f"M{card.x + CARD // 2} {top} V{low - 6} q0 6 -6 6 H{end + 6} q-6 0 -6 -6 V{top + 8}", head)
        for card in old
    ]
    return found, (old[0].x + CARD // 2 + end) // 2 if old else 0


def _text(versions: Sequence[VersionFacts], job: RewrapJob | None) -> str:
    said = [
        f"Version {one.number}: {deks_words(one.deks)}, {', '.join(chip.words for chip in version_chips(one))}."
        for one in versions
    ]
    if job:
        said.append(f"A re-wrap job takes them to version {job.target.version.number} and is {percent(job)} % done.")
    return " ".join(said)


# The list


@dataclass(frozen=True)
class Piece:
    """One version's share of the bar in the list."""

    x: int
    width: int
    is_primary: bool


@dataclass(frozen=True)
class Spread:
    """How the DEKs of a KEK are spread over its versions, as a bar and in words."""

    pieces: Sequence[Piece]
    words: Sequence[str]  # "98,796 under v4", the primary first
    text: str


def spread_picture(versions: Sequence[VersionFacts]) -> Spread:
    """Lay out the bar of a KEK in the list, the oldest version on the left."""
    used = [one for one in versions if one.deks]
    total = sum(one.deks for one in used) or 1
    pieces, x = [], 0
    for one in used:
        width = max(round(SPREAD * one.deks / total), LEAST)
        pieces.append(Piece(min(x, SPREAD - LEAST), min(width, SPREAD - x) if x < SPREAD else LEAST, one.is_primary))
        x += width
    words = [f"{figure(one.deks)} under v{one.number}" for one in sorted(used, key=lambda one: not one.is_primary)]
    return Spread(pieces, words, "; ".join(words) or "no DEK is wrapped by it")
