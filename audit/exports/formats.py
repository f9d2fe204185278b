"""The forms in which the log leaves: what stands before the first event, and the line of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from audit.exports import cef, ndjson, ocsf, tables
from audit.exports.delimited import BYTE_ORDER_MARK, csv_lines
from audit.exports.reading import Beginning, ExportError, read
from audit.models import Event


@dataclass(frozen=True, kw_only=True)
class Format:
    """One form. `lines` takes rows, whether names may be shown, and the name of the log; a line ends in a line feed."""

    name: str
    suffix: str
    media_type: str
    begin: Callable[[Beginning], bytes]
    lines: Callable[[Sequence[Event], bool, str], list[bytes]]
    can_have_names: bool = True


def _record_lines(rows: Sequence[Event], _with_names: bool, _origin: str) -> list[bytes]:  # noqa: FBT001 - as `Format.lines` has it
    return [ndjson.line(row.number, row.event_id, bytes(row.stamp), bytes(row.body), bytes(row.digest)) for row in rows]


def _csv_lines(rows: Sequence[Event], with_names: bool, _origin: str) -> list[bytes]:  # noqa: FBT001 - as `Format.lines` has it
    return [csv_lines([tables.row(event)]) for event in read(rows, with_names=with_names)]


def _cef_lines(rows: Sequence[Event], with_names: bool, _origin: str) -> list[bytes]:  # noqa: FBT001 - as `Format.lines` has it
    return [f"{cef.line(event)}\n".encode() for event in read(rows, with_names=with_names)]


def _ocsf_lines(rows: Sequence[Event], with_names: bool, origin: str) -> list[bytes]:  # noqa: FBT001 - as `Format.lines` has it
    return [f"{ocsf.line(event, origin=origin)}\n".encode() for event in read(rows, with_names=with_names)]


FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format(
            name="ndjson",
            suffix="ndjson",
            media_type="application/x-ndjson",
            begin=lambda begin: ndjson.header(
                origin=begin.origin, after=begin.after, digest=begin.digest, peaks=begin.peaks
            ),
            lines=_record_lines,
            can_have_names=False,
        ),
        Format(
            name="csv",
            suffix="csv",
            media_type="text/csv; charset=utf-8",
            begin=lambda _: BYTE_ORDER_MARK + csv_lines([tables.HEADER]),
            lines=_csv_lines,
        ),
        Format(name="cef", suffix="cef", media_type="text/plain; charset=utf-8", begin=lambda _: b"", lines=_cef_lines),
        Format(
            name="ocsf", suffix="ocsf.ndjson", media_type="application/x-ndjson", begin=lambda _: b"", lines=_ocsf_lines
        ),
    )
}


def format_named(name: str, *, with_names: bool) -> Format:
    """Return a form. Raises: ExportError for an unknown one, and for names where it has no place for them."""
    found = FORMATS.get(name)
    if found is None:
        raise ExportError(f"The format is {', '.join(FORMATS)}; not {name!r}.")
    if with_names and not found.can_have_names:
        raise ExportError("NDJSON is the record itself, which holds no names: choose csv, cef or ocsf for names.")
    return found
