"""Whom and what a file names: records that exist, and those to be registered with it."""

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from django.db.models import CharField, F, Func, Q, Value

from inventory.models import Integration, Owner, Service, Tenant, Vendor
from inventory.models.owner import OwnerKind
from inventory.reading import KeyFacts, PersonRef, ReadRow
from inventory.recognise import merge_people

_TEAM = re.compile(r"(?<![a-z])(?:team|on-?call|squad|group)(?![a-z])")
_KINDS: Mapping[str, Any] = {"service": Service, "vendor": Vendor, "tenant": Tenant, "integration": Integration}


class People:
    """The owners that a file names. Queries: 1.

    `named` is everybody in the file, so that one who is named in a refused row is told apart from a namesake too;
    `used` are those whom its good rows name, and the only ones that are registered, unless keep() says of fewer rows
    that they go in; of these, whoever is in `without` (as "owner:ann") is not registered, and nobody is found for them.
    """

    def __init__(self, named: Iterable[PersonRef], used: Iterable[PersonRef], without: Container[str] = ()) -> None:
        refs = set(named) | set(used)
        bare = {PersonRef(handle=ref.handle, mail="") for ref in refs}
        stored = _stored(refs)
        self.new: list[Owner] = []
        self.with_mail: list[Owner] = []  # known ones whose address the file gives
        self._by_handle = {owner.handle: owner for owner in stored}
        self._by_mail = {owner.mail: owner for owner in stored if owner.mail}
        self._merged = merge_people(refs | bare, _addresses(stored))
        for ref in sorted({self._merged[ref] for ref in used}, key=lambda one: (one.handle, one.mail)):
            if self._known(ref) is None:
                self._register(ref)
        self.left_out = [owner for owner in self.new if f"owner:{owner.handle}" in without]
        self.new = [owner for owner in self.new if owner not in self.left_out]

    def find(self, ref: PersonRef | None) -> Owner | None:
        """Return the owner of a ref out of `used`: by address, else by handle, else by the only address with it."""
        owner = self._meant(ref) if ref else None
        return None if owner in self.left_out else owner

    def keep(self, used: Iterable[PersonRef]) -> None:
        """Register, or give an address to, nobody but those who are named here."""
        kept = {id(self._meant(ref)) for ref in used}
        self.new, self.with_mail, self.left_out = (
            [owner for owner in owners if id(owner) in kept] for owners in (self.new, self.with_mail, self.left_out)
        )

    def _meant(self, ref: PersonRef) -> Owner | None:
        namesake = None if ref.mail else self._by_handle.get(ref.handle)
        return namesake or self._known(self._merged[ref])

    def _known(self, ref: PersonRef) -> Owner | None:
        return self._by_mail.get(ref.mail) if ref.mail else self._by_handle.get(ref.handle)

    def _register(self, ref: PersonRef) -> None:
        """Take an owner for a ref that has none: the one of that handle, if the address can only be theirs."""
        owner = self._by_handle.get(ref.handle)
        is_theirs = self._merged[PersonRef(handle=ref.handle, mail="")] == ref
        if owner is None and (is_theirs or not ref.mail):
            owner = Owner(handle=ref.handle, mail=ref.mail, kind=_kind_of(ref.handle))
            self.new.append(owner)
        elif owner is not None and is_theirs and not owner.mail:
            owner.mail = ref.mail
            self.with_mail.append(owner)
        else:  # several people have that handle: each goes by the address
            owner = Owner(handle=ref.mail, mail=ref.mail, kind=_kind_of(ref.handle))
            self.new.append(owner)
        self._by_handle[owner.handle] = owner
        if owner.mail:
            self._by_mail[owner.mail] = owner


def _stored(refs: set[PersonRef]) -> list[Owner]:
    """Return every owner with one of these handles or addresses, or with an address that begins with a handle."""
    handles, mails = {ref.handle for ref in refs}, {ref.mail for ref in refs if ref.mail}
    local_part = Func(F("mail"), Value("@"), Value(1), function="split_part", output_field=CharField())
    owners = Owner.objects.alias(local_part=local_part).order_by("pk")
    return list(owners.filter(Q(handle__in=handles) | Q(mail__in=mails) | Q(local_part__in=handles)))


def _addresses(stored: Iterable[Owner]) -> dict[str, set[str]]:
    """Return for each handle the addresses of its owner, and of those whose address begins with it."""
    found: dict[str, set[str]] = defaultdict(set)
    for owner in stored:
        if owner.mail:
            found[owner.handle].add(owner.mail)
            found[owner.mail.partition("@")[0]].add(owner.mail)
    return found


def _kind_of(handle: str) -> str:
    return OwnerKind.TEAM if _TEAM.search(handle) else OwnerKind.PERSON


Named = TypeVar("Named", bound=Service | Vendor | Tenant | Integration)


class Mentioned(Generic[Named]):
    """Records of one kind that a file names; new ones in `without` (as "service:a") are left out. Queries: 0 or 1."""

    def __init__(self, model: type[Named], names: Iterable[str], without: Container[str] = ()) -> None:
        wanted = {name for name in names if name}
        found = model._default_manager.filter(name__in=wanted) if wanted else ()
        self._by_name: dict[str, Any] = {one.name: one for one in found}
        named: list[Named] = [model(name=name) for name in sorted(wanted - self._by_name.keys())]
        prefix = model._meta.model_name
        self.left_out: list[Named] = [one for one in named if f"{prefix}:{one.name}" in without]
        self.new: list[Named] = [one for one in named if f"{prefix}:{one.name}" not in without]
        self._by_name |= {one.name: one for one in self.new}

    def find(self, name: str) -> Named | None:
        found: Named | None = self._by_name.get(name)
        return found

    def keep(self, names: Iterable[str]) -> None:
        """Register nothing but what is named here."""
        kept = set(names)
        self.new, self.left_out = ([one for one in ones if one.name in kept] for ones in (self.new, self.left_out))


class Records:
    """Every record that the rows of a file name beside keys; `people` is everybody in the file. Queries: 1 to 5."""

    def __init__(self, rows: Sequence[ReadRow], people: Iterable[PersonRef], without: Container[str]) -> None:
        self.people = People(people, _people_of(rows), without)
        self.named: dict[str, Mentioned[Any]] = {
            kind: Mentioned(model, _names_of(kind, rows), without) for kind, model in _KINDS.items()
        }

    @property
    def services(self) -> Mentioned[Service]:
        return self.named["service"]

    def keep(self, rows: Sequence[ReadRow]) -> None:
        """Register nothing but what these rows name."""
        self.people.keep(_people_of(rows))
        for kind, named in self.named.items():
            named.keep(_names_of(kind, rows))

    def find(self, facts: KeyFacts) -> dict[str, Any]:
        """Return the records that a row names, by the fact of the key that each of them is."""
        people = {"creator": self.people.find(facts.creator), "owner": self.people.find(facts.owner)}
        return people | {kind: named.find(getattr(facts, kind)) for kind, named in self.named.items()}


def _people_of(rows: Iterable[ReadRow]) -> set[PersonRef]:
    return {ref for read in rows for ref in (read.facts.creator, read.facts.owner) if ref}


def _names_of(kind: str, rows: Iterable[ReadRow]) -> Iterator[str]:
    """Yield the names of records of one kind; services are named as users of a key too."""
    for read in rows:
        yield getattr(read.facts, kind)
        if kind == "service":
            yield from read.facts.consumers
