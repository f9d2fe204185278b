import pytest

from keyvault_admin.access.errors import NameRefusedError
from keyvault_admin.access.names import full_name_of, mail_of, normalise, username_of

SAME = [
    "alice",
    "Alice",
    "ALICE",
    " alice",
    "alice ",
    "\talice\n",
    "\u3000alice",  # ideographic space
    "\uff41\uff4c\uff49\uff43\uff45",  # full width
    "\u24b6lice",  # circled A
    "\U0001d41alice",  # mathematical bold a
    "\u00a0alice\u2003",
]
REFUSED = [
    "",
    " ",
    "al ice",
    "al\u200bice",  # zero width space
    "alice\u202e",  # right-to-left override
    "\u0430lice",  # Cyrillic a
    "al\u0131ce",  # dotless i
    "alice\x00",
    "a'lice",
    "alice@example.org",
    "alicé",
    "-alice",
    "alice.",
    "a" * 65,
    "alice\nbob",
]


@pytest.mark.parametrize("typed", SAME)
def test_username_of_gives_one_form_to_every_way_of_typing(typed: str) -> None:
    assert username_of(typed) == "alice"


@pytest.mark.parametrize("typed", REFUSED)
def test_username_of_refuses_what_only_looks_like_a_name(typed: str) -> None:
    with pytest.raises(NameRefusedError):
        username_of(typed)


def test_normalise_is_stable() -> None:
    for character in map(chr, range(0x20, 0x3000)):
        assert normalise(normalise(character)) == normalise(character), hex(ord(character))


@pytest.mark.parametrize("typed", ["Alice@Example.ORG", " alice@example.org ", "alice\uff20example.org"])
def test_mail_of_gives_one_form(typed: str) -> None:
    assert mail_of(typed) == "alice@example.org"


@pytest.mark.parametrize("typed", ["", "alice", "alice@", "@a.org", "a b@example.org", "alice@exämple.org", "a@b@c"])
def test_mail_of_refuses_what_is_no_address(typed: str) -> None:
    with pytest.raises(NameRefusedError):
        mail_of(typed)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (" Zo\u0065\u0308  Doe ", "Zo\u00eb Doe"),
        ("Bob\r\nBcc: everybody", "Bob Bcc: everybody"),
        ("Bob\u2028Why: because", "Bob Why: because"),
        ("Bob\x85\x1fDoe", "Bob Doe"),
        ("\u202egnp.ecila\u2069", "gnp.ecila"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_full_name_of_is_one_line_that_reads_as_it_stands(typed: str, name: str) -> None:
    assert full_name_of(typed) == name
