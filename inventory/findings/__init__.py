"""What is wrong with a key, by which clause, and what to do about it. Pure."""

from inventory.findings.catalogue import CATALOGUE, Definition, Finding, Severity, definition, rank, said, title_of
from inventory.findings.examination import Peers, Surroundings, Table, Under, findings
from inventory.findings.record import mandatory_facts, of_record

__all__ = [
    "CATALOGUE",
    "Definition",
    "Finding",
    "Peers",
    "Severity",
    "Surroundings",
    "Table",
    "Under",
    "definition",
    "findings",
    "mandatory_facts",
    "of_record",
    "rank",
    "said",
    "title_of",
]
