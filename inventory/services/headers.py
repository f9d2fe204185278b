"""Remembering what people say of headers, so that they need not say it of every file again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from inventory.material import is_material
from inventory.models import HeaderMapping
from inventory.models.header import LONGEST_HEADER
from inventory.reading import ColumnsError, Heading, numbered
from inventory.recognise import field_of, holds_key_material
from inventory.recognise.text import folded
from inventory.services.brought import AS_IT_IS, ImportOptions, read_brought


def begin_import(*, content: bytes, now: datetime) -> ImportOptions:
    """Look whether a file can be imported at all; return what people answered about columns like its own.

    Queries: 1, none for key material, which has no columns and is read by the plan that follows. Raises: TableError.
    Columns that are not clear are no reason to refuse a file: a person can say what they hold.
    """
    if is_material(content):
        return AS_IT_IS
    try:
        headings = read_brought(content, today=now.date(), options=AS_IT_IS).headings
    except ColumnsError as error:
        headings = error.headings
    return ImportOptions(mapping=proposed(headings))


def keys_of(headings: Sequence[Heading]) -> list[str]:
    """Return for each column what a mapping calls it: its header, or its number where two columns have the same."""
    times = Counter(folded(heading.header) for heading in headings)
    return [
        heading.header if times[folded(heading.header)] == 1 else numbered(index)
        for index, heading in enumerate(headings)
    ]


def proposed(headings: Sequence[Heading]) -> dict[str, str]:
    """Return the mapping that people gave columns like these the last time. Queries: 1."""
    of_header = {folded(key): key for key in keys_of(headings)}
    known = HeaderMapping.objects.filter(header__in=of_header)
    return {of_header[one.header]: one.field for one in known}


def remember(mapping: Mapping[str, str], *, by: str, now: datetime) -> None:
    """Keep what was said where it is not what we read by ourselves, or was said otherwise before. Queries: 1 or 2.

    A header may be anything that stood in the first row of a file: what looks like key material is not kept.
    """
    said = {folded(header): name for header, name in mapping.items()}
    known = set(HeaderMapping.objects.filter(header__in=said).values_list("header", flat=True))
    kept = [
        HeaderMapping(header=header, field=name, used_at=now, used_by=by)
        for header, name in said.items()
        if (header in known or field_of(header) != name) and _may_be_kept(header)
    ]
    HeaderMapping.objects.bulk_create(
        kept, update_conflicts=True, unique_fields=["header"], update_fields=["field", "used_at", "used_by"]
    )


def _may_be_kept(header: str) -> bool:
    is_number = header.startswith("column ") and header.removeprefix("column ").isdecimal()
    return 0 < len(header) <= LONGEST_HEADER and not is_number and not holds_key_material(header)
