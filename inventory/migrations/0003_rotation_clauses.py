"""The rotation clauses of the five policies (docs/policies.md), as data. S2 demands that rotation is possible, and no age."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

S0 = ("S0", "MCP4.ai Encryption Policy")
S1 = ("S1", "Actionable Science Cryptography, Encryption & Key Management Policy")
S3 = ("S3", "SmartPresence End-to-End Encryption Policy")
S4 = ("S4", "Code Town Encryption & Key Management Policy")

CLAUSES = [
    {
        "code": "s0-5-annual", "of": S0, "section": "§5 Key Management", "requirement": "R23",
        "text": "Keys rotated annually or upon staff departure / incident.",
        "longest_age_days": 365, "on_events": ["somebody with access leaves", "an incident"],
    },
    {
        "code": "s1-6-3-kek", "of": S1, "section": "§6.3 Key Rotation", "requirement": "R79",
        "text": "KEKs: Rotated annually or upon compromise.",
        "kinds": ["kek"], "longest_age_days": 365, "on_events": ["a compromise"],
    },
    {
        "code": "s1-6-3-dek", "of": S1, "section": "§6.3 Key Rotation", "requirement": "R80",
        "text": "DEKs: Rotated when tokens are regenerated, a compromise is suspected, or integration ownership changes.",
        "kinds": ["dek"],
        "on_events": ["its token is regenerated", "a suspected compromise", "its integration changes owner"],
    },
    {
        "code": "s3-incident", "of": S3, "section": "Incident Response", "requirement": "R198",
        "text": "In case of suspected data breach: immediately rotate encryption keys.",
        "on_events": ["a suspected data breach"],
    },
    {
        "code": "s4-production-90", "of": S4, "section": "Key Management", "requirement": "R210",
        "text": "All keys that have access to production data or customer confidential data must be rotated at least every 90 days.",
        "access": ["production", "customer"], "longest_age_days": 90,
    },
    {
        "code": "s4-personal-365", "of": S4, "section": "Key Management", "requirement": "R211",
        "text": "All personal access keys that have access to any staging or test environments must be rotated at least annually.",
        "kinds": ["personal_token"], "environments": ["staging", "test"], "longest_age_days": 365,
    },
]  # fmt: skip


def ship(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    clauses = apps.get_model("inventory", "PolicyClause").objects
    for clause in CLAUSES:
        source, document = clause["of"]
        facts = {name: value for name, value in clause.items() if name != "of"}
        clauses.create(source=source, document=document, **facts)


class Migration(migrations.Migration):
    dependencies = [("inventory", "0002_state_function")]

    operations = [migrations.RunPython(ship, migrations.RunPython.noop)]
