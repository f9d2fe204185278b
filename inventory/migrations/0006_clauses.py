"""What clauses demand besides an age, the threat level, and the clauses of the five policies that demand it, as data."""

import django.contrib.postgres.fields
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

S0 = ("S0", "MCP4.ai Encryption Policy")
S1 = ("S1", "Actionable Science Cryptography, Encryption & Key Management Policy")
S2 = ("S2", "PrecogX Security & Encryption")
S3 = ("S3", "SmartPresence End-to-End Encryption Policy")
S4 = ("S4", "Code Town Encryption & Key Management Policy")

NO_BOOTSTRAP = [
    "kek", "dek", "api_token", "personal_token", "tls_certificate", "ca_certificate", "ssh_key", "signing_key",
    "hmac_key", "database_credential", "webhook_secret", "backup_key", "master_key", "provider_managed",
]  # fmt: skip
OUTSIDE_A_KMS = [
    "secrets_manager", "password_manager", "ci_secrets", "kubernetes_secret", "environment_variable", "file",
    "source_control", "offline", "other",
]  # fmt: skip

# Strengths in bits: RSA-2048 has 112 and RSA-4096 has 150 (NIST SP 800-57 Part 1 §5.6.1 and FIPS 140 IG D.B), AES-256
# has 256. S0's "Environment Vault" is read as the vault of a hosting platform, not as an environment variable.
CLAUSES = [
    {
        "code": "s0-5-vault", "of": S0, "section": "§5 Key Management", "requirement": "R22",
        "text": "All cryptographic keys and secrets stored in a dedicated Key Vault / Environment Vault (not in source control).",
        "forbidden_media": ["environment_variable", "file", "source_control"],
    },
    {
        "code": "s0-5-separate", "of": S0, "section": "§5 Key Management", "requirement": "R28",
        "text": "Separate keys used for development, staging, and production.",
        "separate_per_environment": True,
    },
    {
        "code": "s0-6-runbook", "of": S0, "section": "§6 Certificate Management", "requirement": "R33",
        "text": "Certificate revocation and renewal procedures documented.",
        "kinds": ["tls_certificate", "ca_certificate"], "runbook_required": True,
    },
    {
        "code": "s0-9-backup-strength", "of": S0, "section": "§9 Backup Encryption", "requirement": "R41",
        "text": "Backups encrypted using AES-256 prior to transfer or cloud upload.",
        "kinds": ["backup_key"], "smallest_strength_bits": 256,
    },
    {
        "code": "s0-9-backup-apart", "of": S0, "section": "§9 Backup Encryption", "requirement": "R42",
        "text": "Backup encryption keys managed separately from production keys.",
        "kinds": ["backup_key"], "separate_from_production": True,
    },
    {
        "code": "s1-5-kek-strength", "of": S1, "section": "§5 Key Types & Usage, Appendix A", "requirement": "R72, R121",
        "text": "KEK: RSA-OAEP (2048+ bits).",
        "kinds": ["kek"], "smallest_strength_bits": 112,
    },
    {
        "code": "s1-5-dek-strength", "of": S1, "section": "§5 Key Types & Usage, Appendix A", "requirement": "R73",
        "text": "DEK: AES-256-GCM.",
        "kinds": ["dek"], "smallest_strength_bits": 256,
    },
    {
        "code": "s1-6-1-kek-vault", "of": S1, "section": "§6.1 Key Generation", "requirement": "R76",
        "text": "KEKs are created and stored securely in Azure Key Vault using RSA-OAEP.",
        "kinds": ["kek"], "forbidden_media": OUTSIDE_A_KMS, "allowed_media": ["key_vault", "hsm"],
    },
    {
        "code": "s1-6-2-kek-stays", "of": S1, "section": "§6.2 Key Usage", "requirement": "R78",
        "text": "KEKs are never exposed outside AKV.",
        "kinds": ["kek"], "not_exportable": True,
    },
    {
        "code": "s1-7-kubernetes", "of": S1, "section": "§7 Key Storage", "requirement": "R88",
        "text": "Kubernetes Secrets (legacy): Being phased out; only for bootstrap configs.",
        "kinds": NO_BOOTSTRAP, "forbidden_media": ["kubernetes_secret"],
    },
    {
        "code": "s2-keys-strength", "of": S2, "section": "Key Generation", "requirement": "R137",
        "text": "256-bit encryption keys for maximum security.",
        "kinds": ["dek"], "smallest_strength_bits": 256,
    },
    {
        "code": "s2-keys-storage", "of": S2, "section": "Key Storage", "requirement": "R139",
        "text": "Environment variables for production key storage. No key storage in application code or logs.",
        "forbidden_media": ["source_control"], "allowed_media": ["environment_variable"],
    },
    {
        "code": "s2-exchange-strength", "of": S2, "section": "Encryption Standards", "requirement": "R144",
        "text": "RSA-4096 for key exchange (where applicable).",
        "kinds": ["kek"], "smallest_strength_bits": 150,
    },
    {
        "code": "s3-keys-storage", "of": S3, "section": "Key Management", "requirement": "R186",
        "text": "Storage: Keys stored in environment variables, never in code or database.",
        "forbidden_media": ["source_control"], "allowed_media": ["environment_variable"],
    },
    {
        "code": "s4-at-rest", "of": S4, "section": "Encryption", "requirement": "R205",
        "text": "For data at rest, AES-256 or equivalent encryption is used for sensitive data storage.",
        "kinds": ["dek"], "smallest_strength_bits": 256,
    },
    {
        "code": "s4-vault", "of": S4, "section": "Key Management", "requirement": "R208",
        "text": "Keys must be generated securely and stored in key vaults.",
        "forbidden_media": ["ci_secrets", "environment_variable", "file", "kubernetes_secret", "source_control"],
    },
]  # fmt: skip

# Nobody deletes a clause, and its code never changes. The pages alone change clauses and the threat level.
GRANTS = r"""
GRANT SELECT ON public.inventory_threatlevel TO keyvault_app;
GRANT UPDATE (level, elevated_percent, high_percent, changed_at, revision) ON public.inventory_threatlevel TO keyvault_web;
DO $$
DECLARE
    once text;
    always text;
BEGIN
    SELECT string_agg(quote_ident(column_name), ', '),
           string_agg(quote_ident(column_name), ', ') FILTER (WHERE column_name <> 'code')
      INTO once, always
      FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name = 'inventory_policyclause' AND column_name <> 'id';
    EXECUTE format('GRANT INSERT (%s), UPDATE (%s) ON public.inventory_policyclause TO keyvault_web', once, always);
END
$$;
"""


def ship(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    clauses = apps.get_model("inventory", "PolicyClause").objects
    for clause in CLAUSES:
        source, document = clause["of"]
        facts = {name: value for name, value in clause.items() if name != "of"}
        clauses.create(source=source, document=document, **facts)
    apps.get_model("inventory", "ThreatLevel").objects.create(pk=1)


class Migration(migrations.Migration):
    dependencies = [("inventory", "0005_records")]

    operations = [
        migrations.CreateModel(
            name="ThreatLevel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "level",
                    models.CharField(
                        choices=[("normal", "normal"), ("elevated", "elevated"), ("high", "high")],
                        default="normal",
                        max_length=10,
                    ),
                ),
                ("elevated_percent", models.PositiveSmallIntegerField(default=75)),
                ("high_percent", models.PositiveSmallIntegerField(default=50)),
                ("changed_at", models.DateTimeField(editable=False, null=True)),
                ("revision", models.PositiveIntegerField(default=1, editable=False)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.RemoveConstraint(
            model_name="policyclause",
            name="clause_demands_something",
        ),
        migrations.AddField(
            model_name="policyclause",
            name="allowed_media",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("key_vault", "key vault or KMS"),
                        ("hsm", "hardware security module"),
                        ("secrets_manager", "secrets manager"),
                        ("password_manager", "password manager"),
                        ("ci_secrets", "secrets of a CI system"),
                        ("kubernetes_secret", "Kubernetes secret"),
                        ("environment_variable", "environment variable"),
                        ("file", "file on a server"),
                        ("source_control", "source control"),
                        ("offline", "offline medium"),
                        ("other", "somewhere else"),
                    ],
                    max_length=30,
                ),
                blank=True,
                default=list,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="policyclause",
            name="forbidden_media",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("key_vault", "key vault or KMS"),
                        ("hsm", "hardware security module"),
                        ("secrets_manager", "secrets manager"),
                        ("password_manager", "password manager"),
                        ("ci_secrets", "secrets of a CI system"),
                        ("kubernetes_secret", "Kubernetes secret"),
                        ("environment_variable", "environment variable"),
                        ("file", "file on a server"),
                        ("source_control", "source control"),
                        ("offline", "offline medium"),
                        ("other", "somewhere else"),
                    ],
                    max_length=30,
                ),
                blank=True,
                default=list,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="policyclause",
            name="not_exportable",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="policyclause",
            name="revision",
            field=models.PositiveIntegerField(default=1, editable=False),
        ),
        migrations.AddField(
            model_name="policyclause",
            name="runbook_required",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="policyclause",
            name="separate_from_production",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="policyclause",
            name="separate_per_environment",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="policyclause",
            name="smallest_strength_bits",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="policyclause",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("smallest_strength_bits__isnull", True),
                    ("smallest_strength_bits__range", (1, 512)),
                    _connector="OR",
                ),
                name="clause_strength_in_range",
                violation_error_message="A strength is given in bits, from 1 to 512.",
            ),
        ),
        migrations.AddConstraint(
            model_name="policyclause",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("longest_age_days__isnull", False),
                    models.Q(("on_events", []), _negated=True),
                    ("smallest_strength_bits__isnull", False),
                    models.Q(("forbidden_media", []), _negated=True),
                    ("not_exportable", True),
                    ("runbook_required", True),
                    ("separate_per_environment", True),
                    ("separate_from_production", True),
                    _connector="OR",
                ),
                name="clause_demands_something",
                violation_error_message="A clause demands something: an age, an event, a strength, a place and so on.",
            ),
        ),
        migrations.AddConstraint(
            model_name="policyclause",
            constraint=models.CheckConstraint(
                condition=models.Q(("forbidden_media__overlap", models.F("allowed_media")), _negated=True),
                name="clause_does_not_forbid_what_it_permits",
                violation_error_message="A place cannot be forbidden and permitted by the same clause.",
            ),
        ),
        migrations.AlterConstraint(
            model_name="policyclause",
            name="clause_age_in_range",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("longest_age_days__isnull", True), ("longest_age_days__range", (1, 3650)), _connector="OR"
                ),
                name="clause_age_in_range",
                violation_error_message="A longest age is given in days, from 1 to 3650.",
            ),
        ),
        migrations.AddConstraint(
            model_name="threatlevel",
            constraint=models.CheckConstraint(condition=models.Q(("pk", 1)), name="threat_level_is_one_row"),
        ),
        migrations.AddConstraint(
            model_name="threatlevel",
            constraint=models.CheckConstraint(
                condition=models.Q(("level__in", ["normal", "elevated", "high"])), name="threat_level_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="threatlevel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("high_percent__gte", 1),
                    ("high_percent__lte", models.F("elevated_percent")),
                    ("elevated_percent__lte", 100),
                ),
                name="threat_percents_fall",
                violation_error_message="Percentages run from 100 down to 1, and high leaves no more than elevated.",
            ),
        ),
        migrations.RunPython(ship, migrations.RunPython.noop),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
