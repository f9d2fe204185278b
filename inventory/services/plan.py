"""What an import would do with each row of a file, to be looked at and confirmed before any of it is done."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from audit.canonical import JSON
from inventory.asking import Asked
from inventory.findings import Surroundings, findings
from inventory.models import Integration, Key, Owner, Service, Tenant, Vendor
from inventory.reading import Refusal
from inventory.services.brought import Brought, ImportOptions
from inventory.services.held import Proposal
from inventory.services.judged import Judged, Rejudged
from inventory.services.related import FileRelations, Relating

Tell = Callable[[str, int, int], None]  # what is being done, how many rows of it, of how many


@dataclass(frozen=True, kw_only=True)
class Change:
    """A row that says something else than the record of the same name."""

    row: int
    key: Key  # with the new values set, not saved
    before: Mapping[str, JSON]  # a snapshot
    fields: tuple[str, ...]
    relating: Relating | None = None  # where its relations change too
    known_as: str = ""  # the name of the record, where the file has another one for it: found by its material

    @property
    def proposal(self) -> Proposal:
        """Return the row as a question to DevOps."""
        return Proposal(key=self.key, before=self.before, revision=self.key.revision, fields=self.fields)


@dataclass(frozen=True, kw_only=True)
class Held(Change):
    """A row that would give its key more time: it is asked of DevOps, unless it waits for them already."""

    request: Asked | None  # that waits since an earlier time

    @property
    def is_waiting(self) -> bool:
        return self.request is not None


@dataclass(kw_only=True)
class Plan:
    """What an import would do, nothing of it done yet."""

    new: list[tuple[int, Key]] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)  # by this import, once it is done, as the rows of `to_be_held`
    same: list[Key] = field(default_factory=list)  # of which the file says what the record says
    refused: list[Refusal] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)  # to be registered with it
    owners_with_mail: list[Owner] = field(default_factory=list)  # known ones whose address the file gives
    services: list[Service] = field(default_factory=list)
    others: Mapping[str, Sequence[Vendor | Tenant | Integration]] = field(default_factory=dict)  # by kind, as services
    owners_left_out: list[Owner] = field(default_factory=list)  # new ones that somebody would not have registered
    services_left_out: list[Service] = field(default_factory=list)
    digests: Mapping[str, bytes] = field(default_factory=dict)  # name → keyed digest of the material
    related: FileRelations
    rejudged: Sequence[Rejudged] = ()
    brought: Brought
    options: ImportOptions
    around: Surroundings  # of a key that is not registered yet, at the time of the plan

    @property
    def columns(self) -> Mapping[str, str]:
        return self.brought.columns

    @property
    def ignored(self) -> Sequence[str]:
        return self.brought.ignored

    @property
    def unchanged(self) -> int:
        """Return how many rows repeat another one or say what their record says."""
        return self.brought.repeated + len(self.same)

    @property
    def waiting_rows(self) -> int:
        """Return how many rows stay out for nothing but a question that nobody has answered."""
        return self.brought.waiting_rows

    @property
    def to_mend(self) -> list[Refusal]:
        """Return the refusals that no answer to a question would take away."""
        return [refusal for refusal in self.refused if not refusal.question]

    @property
    def rows_to_mend(self) -> int:
        return len({refusal.row for refusal in self.to_mend})

    @property
    def refused_rows(self) -> int:
        return len({refusal.row for refusal in self.refused})

    @cached_property
    def findings(self) -> int:
        """Return how many findings the new and changed records will have by themselves."""
        return sum(len(findings(key, self._around(key))) for key in self.written)

    def _around(self, key: Key) -> Surroundings:
        judged = self.brought.judged.get(key.name)
        return replace(self.around, **judged._asdict()) if judged else self.around

    @property
    def written(self) -> list[Key]:
        """Return every key that this import writes; after it they have their numbers."""
        return [key for _, key in self.new] + [change.key for change in self.changed]

    @property
    def to_be_held(self) -> list[Held]:
        """Return the rows that become questions to DevOps by this import."""
        return [held for held in self.held if not held.is_waiting]

    @property
    def summary(self) -> str:
        counted = f"{len(self.new)} new, {len(self.changed)} changed, {self.unchanged} unchanged"
        held = f", {len(self.held)} held" if self.held else ""
        return f"{counted}, {self.refused_rows} refused{held}"

    @property
    def digest(self) -> str:
        """Return a SHA-256 over what would be written, by which a confirmation tells that the plan is the one shown."""
        written: list[object] = [(row, key.name, key.rotate_by) for row, key in self.new]
        written += [(change.row, change.key.revision, change.key.rotate_by, _values(change)) for change in self.changed]
        written += [
            (held.row, held.key.revision, held.key.rotate_by, held.is_waiting, _values(held)) for held in self.held
        ]
        written += [(key.name, one.after.named) for key in self.written if (one := self.related.changes.get(key.name))]
        written += [(one.version.key_id, Judged.of(one.version)) for one in self.rejudged]
        written += self.refused
        written += [(owner.handle, owner.mail) for owner in self.owners + self.owners_with_mail]
        written += [service.name for service in self.services]
        written += [(kind, one.name) for kind, new in self.others.items() for one in new]
        written.append(sorted(self.options.stored.items()))
        return hashlib.sha256("\n".join(map(repr, written)).encode()).hexdigest()


def _values(change: Change) -> list[str]:
    return [f"{name}={getattr(change.key, name)}" for name in change.fields]
