"""What the algorithm of a key is worth on a day: the table, its judgement, strengths, and bad material. Pure."""

from inventory.algorithms.falls import Fall, Falling, InUse, falls
from inventory.algorithms.judgement import Facts, Judgement, judge, judge_rows
from inventory.algorithms.names import Claim, claims, rows_of
from inventory.algorithms.strength import clause_strength, is_weaker, security_strength
from inventory.algorithms.table import AlgorithmRow, SourceStatus, Status, Statuses, TableError, read_table

__all__ = [
    "AlgorithmRow",
    "Claim",
    "Facts",
    "Fall",
    "Falling",
    "InUse",
    "Judgement",
    "SourceStatus",
    "Status",
    "Statuses",
    "TableError",
    "claims",
    "clause_strength",
    "falls",
    "is_weaker",
    "judge",
    "judge_rows",
    "read_table",
    "rows_of",
    "security_strength",
]
