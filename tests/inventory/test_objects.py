"""JSON that is a table, and JSON that two programs would read differently."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.tables import Limits, Table, TableError, read_table

LIMITS = Limits(max_bytes=100_000, max_rows=100)


def table(text: str) -> Table:
    return read_table(text.encode(), limits=LIMITS)


@pytest.mark.parametrize("form", ["{}", '{{"keys": {}}}', '  {{ "keys" :\n{} }}\n'])
def test_read_objects_takes_an_array_bare_or_as_keys(form: str) -> None:
    rows = '[{"name": "a", "bits": 2048}, {"name": "b", "prod": true, "bits": null, "exact": 1.10}]'
    read = table(form.format(rows))
    assert read.header == ("name", "bits", "prod", "exact")
    assert [(record.row, record.cells) for record in read.records] == [
        (1, ("a", "2048", "", "")),
        (2, ("b", "", "true", "1.10")),
    ]
    assert read.source.format == "JSON"


def test_read_objects_keeps_numbers_as_they_are_written() -> None:
    assert table(f'[{{"serial": {"9" * 5000}}}]').records[0].cells == ("9" * 5000,)


def test_read_objects_marks_what_is_no_text() -> None:
    (record,) = table('[{"name": "a", "tags": ["x", 1]}]').records
    assert (record.cells, [fault.index for fault in record.faults]) == (("a", '["x", "1"]'), [1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"a": 1, "a": 1}]', "same name twice"),
        ('[{"b": {"a": 1, "a": 1}}]', "same name twice"),
        ('[{"a": "x"}, {"a": NaN}]', "Object 2 of the JSON holds NaN"),
        ('[{"a": "x"}, "b"]', "Entry 2"),
        ('{"keys": [{"a": 1}], "more": 1}', "behind the array"),
        ('[{"a": 1}', "breaks off"),
        ('[{"a": 1},]', "object 2"),
        ('{"a": "b"}', "no array"),
        ('[{"a": ' + "[" * 9 + "]" * 9 + "}]", "nested"),
    ],
)
def test_read_objects_refuses_what_is_unclear(text: str, words: str) -> None:
    with pytest.raises(TableError) as refused:
        table(text)
    assert words in refused.value.problem


@given(
    st.lists(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=10), min_size=1), min_size=1, max_size=9)
)
@settings(deadline=None)
def test_read_objects_reads_what_pythons_writer_wrote(objects: list[dict[str, str]]) -> None:
    try:
        read = table(json.dumps(objects))
    except TableError as error:
        assert "empty" in error.problem  # noqa: PT017 - objects of nothing but blanks
        return
    for record in read.records:
        written = objects[record.row - 1]
        expected = [written.get(name, "").replace("\r\n", "\n").replace("\r", "\n") for name in read.header]
        assert list(record.cells) == expected
