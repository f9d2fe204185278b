"""Words as people write them in a spreadsheet → the vocabulary of the inventory, or a sentence that says why not.

Every function takes the cleaned text of one cell. A blank cell, and words for "I do not know", say nothing: they come
out as "" or None. All of them raise NotUnderstoodError. Nothing is guessed: what has two readings is refused.
"""

from inventory.recognise.algorithms import algorithm_of, size_of
from inventory.recognise.dates import DATE_ORDERS, AmbiguousDateError, date_of, last_rotation_of, order_shown
from inventory.recognise.headers import FIELDS, field_of, suggested_field
from inventory.recognise.people import PersonRef, is_short_name, merge_people, person_of, service_of
from inventory.recognise.several import exact_of, several_of, written
from inventory.recognise.text import NotUnderstoodError, clean, holds_key_material, is_unknown, shown
from inventory.recognise.words import (
    access_of,
    classification_of,
    environment_of,
    flag_of,
    kind_of,
    label_of,
    link_of,
    medium_of,
    name_of,
    storage_of,
)

__all__ = [
    "DATE_ORDERS",
    "FIELDS",
    "AmbiguousDateError",
    "NotUnderstoodError",
    "PersonRef",
    "access_of",
    "algorithm_of",
    "classification_of",
    "clean",
    "date_of",
    "environment_of",
    "exact_of",
    "field_of",
    "flag_of",
    "holds_key_material",
    "is_short_name",
    "is_unknown",
    "kind_of",
    "label_of",
    "last_rotation_of",
    "link_of",
    "medium_of",
    "merge_people",
    "name_of",
    "order_shown",
    "person_of",
    "service_of",
    "several_of",
    "shown",
    "size_of",
    "storage_of",
    "suggested_field",
    "written",
]
