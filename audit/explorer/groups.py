"""Actions by what they are about, as people look for them. Pure; an action is in the group that has its noun."""

from audit.actions import Action

# The name in the address → the nouns. What is on no line is in "other".
_NAMED: dict[str, tuple[str, ...]] = {
    "keys": ("key", "finding", "token"),
    "sign-in": ("session", "sign_in", "single_sign_on", "passkey", "recovery_code", "factor", "enrolment"),
    "people": ("person", "role", "quorum", "bootstrap"),
    "policies": ("clause", "exception", "threat_level"),
    "records": ("owner", "service", "tenant", "integration", "vendor"),
    "key-stores": ("kek", "dek", "order", "rewrap", "source", "certificate", "census"),
    "import-and-export": ("inventory",),
    "approvals": ("request", "duty", "glass", "approval_rule", "alert_route"),
    "mail": ("notice",),
    "log": ("audit", "checkpoint", "signing_key", "sealing_key", "master_key", "demo"),
}
_KNOWN = {noun for nouns in _NAMED.values() for noun in nouns}
_OTHER = tuple(dict.fromkeys(noun for action in Action if (noun := action.partition(".")[0]) not in _KNOWN))
GROUPS = _NAMED | ({"other": _OTHER} if _OTHER else {})


def noun_of(action: str) -> str:
    """Return what an action is about: "key" of "key.edited"."""
    return action.partition(".")[0]


def group_of(action: str) -> str:
    """Return the group of an action, "" for one that is in none."""
    return next((name for name, nouns in GROUPS.items() if noun_of(action) in nouns), "")


def actions_of(group: str) -> list[Action]:
    """Return the actions of a group, in the order of the vocabulary."""
    return [action for action in Action if noun_of(action) in GROUPS.get(group, ())]


def words_of(name: str) -> str:
    """Return an action or a group in words: "key edited", "sign-in"."""
    spaced = name.replace(".", " ").replace("_", " ")
    return spaced if "." in name or name == "sign-in" else spaced.replace("-", " ")
