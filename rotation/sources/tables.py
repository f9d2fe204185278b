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
        raise BadNameError("Name the table with its schema, as in public.data_keys.")
    found = Columns(
        schema=schema,
        table=table,
        id=source.id_column,
        wrapped=source.wrapped_column,
        version=source.version_column,
        context=source.context_column,
        binding=source.binding_column,
    )
    for name in (schema, table, *found.named, source.id_column, source.wrapped_column, source.version_column):
        if _NAME.fullmatch(name) is None:
            raise BadNameError("Names of tables and columns consist of letters, digits and _, and begin with no digit.")
    if len(set(found.named)) != len(found.named):
        raise BadNameError("Each column has one purpose: two of them have the same name.")
    for name in (source.database, source.login):
        if _PLAIN.fullmatch(name) is None:
            raise BadNameError("The names of database and login consist of printable characters, without = and space.")
    return found
