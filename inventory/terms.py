"""The vocabulary of the inventory. Values are stored; never rename one."""

from django.db.models import TextChoices


class KeyKind(TextChoices):
    KEK = "kek", "Key-encrypting key"
    DEK = "dek", "Data-encrypting key"
    API_TOKEN = "api_token", "API token"
    PERSONAL_TOKEN = "personal_token", "Personal access key"
    TLS_CERTIFICATE = "tls_certificate", "TLS certificate"
    CA_CERTIFICATE = "ca_certificate", "CA certificate"
    SSH_KEY = "ssh_key", "SSH key"
    SIGNING_KEY = "signing_key", "Signing key"
    HMAC_KEY = "hmac_key", "HMAC key"
    DATABASE_CREDENTIAL = "database_credential", "Database credential"
    WEBHOOK_SECRET = "webhook_secret", "Webhook secret"
    BOOTSTRAP_SECRET = "bootstrap_secret", "Bootstrap secret"
    BACKUP_KEY = "backup_key", "Backup key"
    MASTER_KEY = "master_key", "Master key"
    PROVIDER_MANAGED = "provider_managed", "Provider-managed key"


class Environment(TextChoices):
    PRODUCTION = "production", "production"
    STAGING = "staging", "staging"
    TEST = "test", "test"
    DEVELOPMENT = "development", "development"


class Classification(TextChoices):
    PUBLIC = "public", "public"
    INTERNAL = "internal", "internal"
    CONFIDENTIAL = "confidential", "confidential"
    RESTRICTED = "restricted", "restricted"


class Access(TextChoices):
    """What a key opens, in the words of S4 (R210). The empty string means: nobody has said."""

    NONE = "none", "neither production nor customer-confidential data"
    PRODUCTION = "production", "production data"
    CUSTOMER = "customer", "customer-confidential data"
    BOTH = "both", "production and customer-confidential data"
    EITHER = "either", "production or customer-confidential data"  # said in one column, without saying which


class Relation(TextChoices):
    """How a key depends on the one above it."""

    WRAPPED_BY = "wrapped_by", "wrapped by"
    DERIVED_FROM = "derived_from", "derived from"


class StorageMedium(TextChoices):
    KEY_VAULT = "key_vault", "key vault or KMS"
    HSM = "hsm", "hardware security module"
    SECRETS_MANAGER = "secrets_manager", "secrets manager"
    PASSWORD_MANAGER = "password_manager", "password manager"
    CI_SECRETS = "ci_secrets", "secrets of a CI system"
    KUBERNETES_SECRET = "kubernetes_secret", "Kubernetes secret"
    ENVIRONMENT_VARIABLE = "environment_variable", "environment variable"
    FILE = "file", "file on a server"
    SOURCE_CONTROL = "source_control", "source control"
    OFFLINE = "offline", "offline medium"
    OTHER = "other", "somewhere else"


class StoreStatus(TextChoices):
    """What a key store says of a version of a KEK: kms.base.VersionStatus in a column."""

    ENABLED = "enabled", "enabled"
    DISABLED = "disabled", "disabled"
    SCHEDULED = "scheduled", "scheduled for destruction"
    GONE = "gone", "gone"


class HoldKind(TextChoices):
    """What needs a version of a KEK, besides the DEKs that are wrapped here."""

    BACKUP = "backup", "a retained backup"
    SOURCE = "source", "DEKs kept elsewhere"
