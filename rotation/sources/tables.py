"""The names of a source's table and columns, as SQL takes them: checked here, quoted by the driver, never pasted."""

import re
from dataclasses import dataclass

from psycopg import sql

from rotation.models import RewrapSource, SourceForm
from rotation.sources.errors import BadNameError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PLAIN = re.compile(r"[!-<>-~]{1,63}")  # of a database or a login: printable, and no = that libpq would take apart
WHOLE = ("int2", "int4", "int8")
TEXTS = ("text", "varchar")
# A row of the table is named by its id as text; it is compared in its own type.
ID_TYPES = (*WHOLE, "uuid", *TEXTS)
VERSION_TYPES = (*WHOLE, *TEXTS)
CONTEXT_TYPES = ("bytea", *TEXTS)
WRAPPED_TYPES: dict[str, tuple[str, ...]] = {
    SourceForm.BYTES: ("bytea",),
    SourceForm.ENVELOPE: ("bytea",),
    SourceForm.BASE64: TEXTS,
    SourceForm.TEXT: TEXTS,
}
_FIELDS = {
    "id_column": "Column of the id",
    "wrapped_column": "Column of the wrapped DEK",
    "version_column": "Column of the KEK version",
    "context_column": "Column of the context",
    "binding_column": "Column of the binding digest",
}
_OPTIONAL = {"context_column", "binding_column"}


@dataclass(frozen=True)
class Columns:
    """The names of a source, checked."""

    schema: str
    table: str
    id: str
    wrapped: str
    version: str
    context: str = ""
    binding: str = ""

    @property
    def relation(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(name for name in (self.id, self.wrapped, self.version, self.context, self.binding) if name)

    @property
    def written(self) -> tuple[str, ...]:
        """Return the columns that are changed; nothing else ever is."""
        return tuple(name for name in (self.wrapped, self.version, self.binding) if name)

    def names(self) -> dict[str, sql.Composable]:
        """Return all of them for sql.SQL(…).format(): the row is `t`; a column that is not there reads as NULL."""
        null = sql.SQL("NULL::pg_catalog.bytea")
        return {
            "relation": self.relation,
            "id": sql.Identifier("t", self.id),
            "wrapped": sql.Identifier("t", self.wrapped),
            "version": sql.Identifier("t", self.version),
            "context": sql.Identifier("t", self.context) if self.context else null,
            "binding": sql.Identifier("t", self.binding) if self.binding else null,
        }


def columns_of(source: RewrapSource) -> Columns:
    """Return the names of a source. Raises: BadNameError for what is none."""
    schema, dot, table = source.table.partition(".")
    if not dot:
        raise BadNameError(
            f"Name the table with its schema: public.{table or 'data_keys'}, if that is where it is.", field="table"
        )
    for name in (schema, table):
        _check(_NAME, name, "Table", "table")
    for field, label in _FIELDS.items():
        if getattr(source, field) or field not in _OPTIONAL:
            _check(_NAME, getattr(source, field), label, field)
    _check_once(source)
    for field, label in (("database", "Database"), ("login", "Login")):
        if _PLAIN.fullmatch(getattr(source, field)) is None:
            raise BadNameError(f"{label}: its name consists of printable characters, without = and space.", field=field)
    return Columns(
        schema=schema,
        table=table,
        id=source.id_column,
        wrapped=source.wrapped_column,
        version=source.version_column,
        context=source.context_column,
        binding=source.binding_column,
    )


def _check(pattern: re.Pattern[str], name: str, label: str, field: str) -> None:
    if pattern.fullmatch(name) is None:
        rule = "consists of letters, digits and _, and begins with no digit"
        raise BadNameError(f"{label}: its name {rule}.", field=field)


def _check_once(source: RewrapSource) -> None:
    seen: dict[str, str] = {}
    for field, label in _FIELDS.items():
        name = getattr(source, field)
        if name and name in seen:
            raise BadNameError(f"{label}: {name} is said to be the {seen[name].lower()} already.", field=field)
        seen[name] = label
