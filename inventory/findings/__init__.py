"""What is wrong with a key, by which clause, and what to do about it. Pure."""

from inventory.findings.catalogue import CATALOGUE, Definition, Finding, Severity, definition, said, title_of
from inventory.findings.demands import Demands, Peers, demands_more, of_clauses
from inventory.findings.examination import Surroundings, Table, Under, findings, of_material
from inventory.findings.record import mandatory_facts, of_record

__all__ = [
    "CATALOGUE",
    "Definition",
    "Demands",
    "Finding",
    "Peers",
    "Severity",
    "Surroundings",
    "Table",
    "Under",
    "definition",
    "demands_more",
    "findings",
    "mandatory_facts",
    "of_clauses",
    "of_material",
    "of_record",
    "said",
    "title_of",
]
