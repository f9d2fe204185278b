"""Check of the inventory against the log: what the last comparison found."""

from inventory.replay.recording import latest
from keyvault_admin.checks.rules import Answer, Group, Rule


def tables_hold_what_the_log_says() -> Answer:
    ran = latest().ran
    if ran is None or ran.said is None:
        return Answer("Tables and log have not been compared yet; that is done every night.")
    when, counts = f"{ran.said.at:%-d %b %Y, %H:%M} UTC", ran.said.facts
    if ran.said.outcome == "done":
        return Answer(f"The tables held what the log says on {when}.")
    said = counts.get("problem") or f"{counts['differences']:,} fields were changed outside the application"
    return Answer(f"On {when}: {said}.", "Run replay_inventory: docs/replay.md says what to do with what it names.")


LIVE = (Rule("face.W014", Group.DATABASE, "the tables hold what the log says", tables_hold_what_the_log_says),)
