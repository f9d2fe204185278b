"""Every setting, in Django's order; the only reader of the environment. Defaults are the safe values."""

import base64
import binascii
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

from inventory.kms.errors import AddressError
from keyvault_admin.logs import LOGGING  # noqa: F401 - a setting of Django's
from keyvault_admin.schedule import SCHEDULE
from keyvault_admin.stores import needs_master_key, stores_named

BASE_DIR = Path(__file__).resolve().parent.parent
# A copy: what `local.env` adds to it is not handed on to child processes.
environ.FileAwareEnv.ENVIRON = FileAwareMapping(env=dict(os.environ))
env = environ.FileAwareEnv()

# The embedded engines leave their addresses and secrets in one file; an installation that sets its own never reads it.
LOCAL_ENV = Path(os.environ.get("KEYVAULT_LOCAL_ENV", BASE_DIR / "var" / "local.env"))
IS_LOCAL = not any(
    name in os.environ for name in ("DATABASE_URL", "DATABASE_URL_FILE", "SECRET_KEY", "SECRET_KEY_FILE")
)
IS_LOCAL = IS_LOCAL and LOCAL_ENV.is_file()
if IS_LOCAL:
    env.read_env(LOCAL_ENV)


MAKE_A_KEY = "Make one with: openssl rand -base64 32"


def required(name: str, mend: str) -> str:
    """Return the variable NAME, or the content of the file that NAME_FILE points to; refuse to start without it."""
    value = str(env.str(name, default="")).strip()
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. {mend}")
    return value


def key_of(name: str) -> bytes:
    """Return a 256-bit key given as base64."""
    return key_from(name, required(name, MAKE_A_KEY))


def keys_of(name: str) -> tuple[bytes, ...]:
    """Return the keys given as base64 with white space or commas between them; none when the variable is not set."""
    return tuple(key_from(name, text) for text in str(env.str(name, default="")).replace(",", " ").split())


def key_from(name: str, text: str) -> bytes:
    """Return the key that TEXT, a part of the variable NAME, holds as base64; TEXT itself is never repeated."""
    mend = MAKE_A_KEY
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ImproperlyConfigured(f"{name} is not base64. {mend}") from error
    if len(key) != 32:  # noqa: PLR2004 - 256 bits
        raise ImproperlyConfigured(f"{name} holds {len(key) * 8} bits instead of 256. {mend}")
    return key


def is_given(name: str) -> bool:
    return bool({name, f"{name}_FILE"} & set(env.ENVIRON.env))


def source_of(name: str) -> str:
    """Return where the secret NAME was read from, as a URI that names the place and holds nothing of the secret."""
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).absolute().as_uri()
    return f"{LOCAL_ENV.absolute().as_uri()}#{name}" if IS_LOCAL and name not in os.environ else f"env:{name}"


@contextmanager
def as_a_url(name: str) -> Iterator[None]:
    """Say that NAME is no URL without repeating it: the errors of the parsers quote parts of passwords."""
    try:
        yield
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} cannot be read as a URL. Write / as %2F, @ as %40, # as %23 and ? as %3F in its password."
        ) from None


def https_of(name: str) -> str:
    """Return the address that the variable NAME holds; what is asked there, and told, is not for others to read."""
    address = required(name, "The provider's /.well-known/openid-configuration says it.")
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment:
        raise ImproperlyConfigured(f"{name} must be an address that begins with https:// and has no part behind a #.")
    return address


# Core
ROLE: str = env.str("KEYVAULT_ROLE", default="command")  # web, worker, beat, signer, command or migrator
if ROLE not in {"web", "worker", "beat", "signer", "command", "migrator"}:
    raise ImproperlyConfigured("KEYVAULT_ROLE must be web, worker, beat, signer, command or migrator.")
SECRET_KEY = required("SECRET_KEY", "Give it at least 50 random characters.")
SEALING_KEY = key_of("KEYVAULT_SEALING_KEY")  # seals TOTP seeds and the identities beside audit events
SEALING_KEYS_PREVIOUS = keys_of("KEYVAULT_SEALING_KEYS_PREVIOUS")  # still open what is not sealed anew yet
DIGEST_KEY = key_of("KEYVAULT_DIGEST_KEY")  # keys the digests of tokens, codes, session keys and the material of keys
DIGEST_KEYS_PREVIOUS = keys_of("KEYVAULT_DIGEST_KEYS_PREVIOUS")  # still compared, for what was kept under them
SECRET_SOURCES = {name: source_of(name) for name in ("SECRET_KEY", "KEYVAULT_SEALING_KEY", "KEYVAULT_DIGEST_KEY")}
SIGNING_KEY: bytes | None = None  # Ed25519, signs checkpoints; in the signer's process alone
if ROLE == "signer":
    SIGNING_KEY = key_of("KEYVAULT_SIGNING_KEY")
    SECRET_SOURCES["KEYVAULT_SIGNING_KEY"] = source_of("KEYVAULT_SIGNING_KEY")
elif is_given("KEYVAULT_SIGNING_KEY"):
    raise ImproperlyConfigured(
        f"KEYVAULT_SIGNING_KEY is given to a process that is {ROLE}. The signer alone may hold it: take it out here."
    )
# Key stores (docs/key-stores.md): address by name. The key that local ones are sealed under is the worker's alone.
try:
    KMS_STORES: dict[str, str] = stores_named(env.str("KEYVAULT_KMS", default=""))
except AddressError as error:
    raise ImproperlyConfigured(f"KEYVAULT_KMS cannot be used. {error}") from error
MASTER_KEY: bytes | None = None
if ROLE != "worker" and is_given("KEYVAULT_MASTER_KEY"):
    raise ImproperlyConfigured(
        f"KEYVAULT_MASTER_KEY is given to a process that is {ROLE}. The worker alone may hold it: take it out here."
    )
if ROLE == "worker" and (is_given("KEYVAULT_MASTER_KEY") or needs_master_key(KMS_STORES)):
    MASTER_KEY = key_of("KEYVAULT_MASTER_KEY")
    SECRET_SOURCES["KEYVAULT_MASTER_KEY"] = source_of("KEYVAULT_MASTER_KEY")
DEBUG = False
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SITE_URL: str = env.str("SITE_URL", default="https://localhost").rstrip("/")
INSTALLED_APPS = [
    "keyvault_admin.apps.KeyvaultAdminConfig",  # django.contrib.admin with our site as the default one
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",  # operator classes of indexes
    "django_otp",
    "axes",
    "csp",
    "audit",
    "inventory",
    "rotation",
    "keyvault_admin.access",
    "keyvault_admin.apps.FaceConfig",  # commands, checks and pages of the whole house
]
MIDDLEWARE = [
    "keyvault_admin.middleware.HeadersMiddleware",  # before whatever may answer by itself
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "keyvault_admin.access.middleware.SessionLimitsMiddleware",  # before anybody asks whose session it is
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "keyvault_admin.middleware.ActorMiddleware",
    "keyvault_admin.access.middleware.StepUpMiddleware",  # after who acts, and verified when, is known
    "axes.middleware.AxesMiddleware",  # turns the answer to one try too many into a 429
]
ROOT_URLCONF = "keyvault_admin.urls"
WSGI_APPLICATION = "keyvault_admin.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Database: one login role for each kind of process; the migrator acts as the owner
_url = f"DATABASE_URL_{ROLE.upper()}" if IS_LOCAL else "DATABASE_URL"
required(_url, "Give it as postgres://ROLE:PASSWORD@HOST:PORT/NAME.")
with as_a_url(_url):
    DATABASES: dict[str, dict[str, Any]] = {"default": env.db_url(_url)}
DATABASES["default"]["ENGINE"] = "django.db.backends.postgresql"
DATABASES["default"].setdefault("OPTIONS", {})
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"]["CONN_MAX_AGE"] = 60
# Servers whose way to us never leaves this machine, as in the compose file: TLS is not asked for there.
INSIDE_HOSTS: list[str] = env.list("KEYVAULT_INSIDE_HOSTS", default=[])
if ROLE == "migrator":
    DATABASES["default"]["OPTIONS"]["options"] = "-c role=keyvault_owner"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# People and sessions
AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # first: a closed door looks at no password
    "keyvault_admin.access.backends.RoleBackend",
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Lockout. What django-axes would store in clear is not stored: our handler keeps digests, and the database insists.
AXES_HANDLER = "keyvault_admin.access.throttle.LockoutHandler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # a stranger cannot lock somebody out from everywhere
AXES_CLIENT_IP_CALLABLE = "keyvault_admin.middleware.client_address"
AXES_LOCKOUT_CALLABLE = "keyvault_admin.access.views.too_many_tries"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True  # who signed in stands in the audit log
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
OTP_TOTP_ISSUER = "Keyvault Admin"
OTP_ADMIN_HIDE_SENSITIVE_DATA = True
ENROLMENT_LIFETIME = timedelta(hours=24)
SESSION_ENGINE = "keyvault_admin.access.session_store"  # in the database, under digests of their keys
SESSION_IDLE = timedelta(minutes=15)  # without a click, and the session is over
SESSION_ABSOLUTE = timedelta(hours=8)  # from sign-in on, however busy somebody is
SESSION_SEEN_EVERY = timedelta(minutes=1)  # how often a click is written down; idle time is exact to this, never longer
CLOCK_SKEW = timedelta(seconds=30)  # between the clocks of web processes; a time further ahead counts for nothing
STEP_UP_LIFETIME = timedelta(minutes=5)  # how old the check of a second factor may be at a sensitive door
VOTE_VERIFIER = "keyvault_admin.access.services.verify_for_vote"  # checks the second factor of each vote
STEP_UP_TRIES = 5  # wrong codes at step-up before the session ends
VOTE_CHALLENGE = "keyvault_admin.access.challenges.take_vote_challenge"  # what a passkey answers to, once
# What Django itself lets live: longer, so that ours is the limit that ends a session, and says why.
SESSION_COOKIE_AGE = int((SESSION_ABSOLUTE + SESSION_IDLE).total_seconds())
SESSION_SAVE_EVERY_REQUEST = False
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
SIGNED_COOKIE_LEGACY_SALT_FALLBACK = False  # no cookie of ours was ever signed in the old way (CVE-2026-6873)

# Single sign-on (docs/single-sign-on.md): there while KEYVAULT_OIDC_ISSUER is set. OIDC_OP_…, OIDC_RP_… and a few more
# are the names of mozilla-django-oidc.
OIDC_ISSUER: str = env.str("KEYVAULT_OIDC_ISSUER", default="")
OIDC_NAME: str = env.str("KEYVAULT_OIDC_NAME", default="single sign-on")  # on the button, after "Sign in with"
OIDC_RP_CLIENT_ID = OIDC_RP_CLIENT_SECRET = ""
OIDC_OP_AUTHORIZATION_ENDPOINT = OIDC_OP_TOKEN_ENDPOINT = OIDC_OP_JWKS_ENDPOINT = ""
OIDC_OP_USER_ENDPOINT = ""  # asked for by the package, and never called
OIDC_RP_SIGN_ALGO: str = env.str("KEYVAULT_OIDC_ALGORITHM", default="RS256")
OIDC_MFA_AMR = frozenset(env.list("KEYVAULT_OIDC_MFA_AMR", default=[]))  # RFC 8176: what counts as a second factor
OIDC_MFA_ACR = frozenset(env.list("KEYVAULT_OIDC_MFA_ACR", default=[]))
OIDC_MAX_AGE: int = env.int("KEYVAULT_OIDC_MAX_AGE", default=0)  # seconds since the provider asked; 0: however long ago
OIDC_VERIFY_SSL: str | bool = env.str("KEYVAULT_OIDC_CA_PATH", default="") or True  # never off
OIDC_TIMEOUT = 5  # seconds for each of the two questions
OIDC_LIFETIME = timedelta(minutes=5)  # from the button to the return, and from there to the second factor
OIDC_CREATE_USER = OIDC_ALLOW_UNSECURED_JWT = OIDC_STORE_ACCESS_TOKEN = OIDC_STORE_ID_TOKEN = False
if OIDC_ISSUER:
    if find_spec("mozilla_django_oidc") is None:
        raise ImproperlyConfigured(
            "KEYVAULT_OIDC_ISSUER is set, but the packages for single sign-on are not installed: uv sync --extra oidc"
        )
    https_of("KEYVAULT_OIDC_ISSUER")
    OIDC_RP_CLIENT_ID = required("KEYVAULT_OIDC_CLIENT_ID", "The provider gives it when you register this site.")
    OIDC_RP_CLIENT_SECRET = required("KEYVAULT_OIDC_CLIENT_SECRET", "The provider gives it with the client id.")
    OIDC_OP_AUTHORIZATION_ENDPOINT = https_of("KEYVAULT_OIDC_AUTHORIZATION_ENDPOINT")
    OIDC_OP_TOKEN_ENDPOINT = https_of("KEYVAULT_OIDC_TOKEN_ENDPOINT")
    OIDC_OP_JWKS_ENDPOINT = https_of("KEYVAULT_OIDC_JWKS_ENDPOINT")
    if OIDC_RP_SIGN_ALGO not in {"RS256", "ES256"}:
        raise ImproperlyConfigured("KEYVAULT_OIDC_ALGORITHM must be RS256 or ES256.")
    if OIDC_MFA_AMR & {"pwd", "pin", "kba", "user", "geo", "rba", "wia"}:
        raise ImproperlyConfigured("KEYVAULT_OIDC_MFA_AMR holds a word that says nothing of a second factor.")

# Transport and headers. Plain http exists for the embedded engines on localhost only.
PLAIN_HTTP: bool = IS_LOCAL and env.bool("KEYVAULT_PLAIN_HTTP", default=False)
SECURE_SSL_REDIRECT = not PLAIN_HTTP
SECURE_REDIRECT_EXEMPT = [r"^-/(live|ready)$"]  # asked by the container itself, inside
SECURE_HSTS_SECONDS = 0 if PLAIN_HTTP else int(timedelta(days=365).total_seconds())
SECURE_HSTS_INCLUDE_SUBDOMAINS = not PLAIN_HTTP
SECURE_HSTS_PRELOAD = not PLAIN_HTTP
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not PLAIN_HTTP
SESSION_COOKIE_NAME = "sessionid" if PLAIN_HTTP else "__Host-sessionid"
CSRF_COOKIE_NAME = "csrftoken" if PLAIN_HTTP else "__Host-csrftoken"
PASSKEY_COOKIE_NAME = "passkey" if PLAIN_HTTP else "__Host-passkey"  # the challenge of a visitor who signs in
DEPARTURE_COOKIE_NAME = "departure" if PLAIN_HTTP else "__Host-departure"  # what the provider's answer must fit
X_FRAME_OPTIONS = "DENY"
if PLAIN_HTTP:  # what these ask for needs TLS; face.E001 makes sure that only this machine is served
    SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "security.W012", "security.W016"]
TRUSTED_PROXIES: int = env.int("TRUSTED_PROXIES", default=0)  # how many proxies of ours stand before the web process
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000

# Language and time
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["keyvault_admin.formats"]

# Static files: hashed names, served by the web process
STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},  # nothing is ever stored as a file
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Mail
with as_a_url("EMAIL_URL"):
    vars().update(env.email_url("EMAIL_URL", default="smtp+ssl://localhost:465"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", default="Keyvault Admin <keyvault@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# Celery: tasks are nudges, rows are the truth (threats-and-tests c.5)
CELERY_BROKER_URL = required("CELERY_BROKER_URL", "Give it as redis://:PASSWORD@HOST:PORT/0.")
with as_a_url("CELERY_BROKER_URL"):
    urlsplit(CELERY_BROKER_URL).port  # noqa: B018 - reading it is the check
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 600,
    "unacked_restore_throttle": 1,
    "socket_timeout": 10,
    "socket_connect_timeout": 1,
    "health_check_interval": 10,
    "max_retries": 0,  # of who sends; a nudge fails at once. Worker and beat wait for the broker by themselves
}
CELERY_ACCEPT_CONTENT = CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_TIME_LIMIT = 280
CELERY_TASK_SOFT_TIME_LIMIT = 240
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
# The signer's worker takes this queue and no other; no other worker takes it.
CELERY_TASK_ROUTES = {
    f"audit.tasks.{it}": {"queue": "signing"} for it in ("tend_checkpoints", "make_checkpoint", "sign_certificates")
}
CELERY_BEAT_SCHEDULE = SCHEDULE

# Checkpoints of the audit log (docs/checkpoints.md)
CHECKPOINT_EVENTS: int = env.int("KEYVAULT_CHECKPOINT_EVENTS", default=1_000)  # after so many events at the latest,
CHECKPOINT_EVERY = timedelta(minutes=env.int("KEYVAULT_CHECKPOINT_MINUTES", default=60))  # and so long after one
if min(CHECKPOINT_EVENTS, CHECKPOINT_EVERY.total_seconds()) < 1:
    raise ImproperlyConfigured("KEYVAULT_CHECKPOINT_EVENTS and KEYVAULT_CHECKPOINT_MINUTES must be at least 1.")
# How the log calls itself in its checkpoints; once it has signed one, it keeps the name of the first.
LOG_ORIGIN: str = env.str("KEYVAULT_LOG_ORIGIN", default=f"{urlsplit(SITE_URL).hostname or 'localhost'}/audit")
ANCHORS: list[str] = env.str("KEYVAULT_ANCHORS", default="").split()  # addresses outside, with white space between them
SIEM: list[str] = env.str("KEYVAULT_SIEM", default="").split()  # where the worker ships the log (docs/exports.md)
# How many days events are kept, until people have voted for a figure (docs/retention.md); face.E029 asks for enough.
AUDIT_RETENTION_DAYS: int = env.int("KEYVAULT_AUDIT_RETENTION_DAYS", default=2557)  # seven years

# Tables of other databases whose DEKs are re-wrapped there (docs/sources.md): "host" or "host:port", and no other host
SOURCE_HOSTS: list[str] = env.str("KEYVAULT_SOURCE_HOSTS", default="").split()
SOURCE_SECRETS: str = env.str("KEYVAULT_SOURCE_SECRETS", default="/run/secrets/sources")  # where their passwords lie

# The house
NOTICE_DAYS = (30, 7, 0)  # days before the date of rotation at which the owner is told; 0 is the day it becomes late
IMPORT_MAX_BYTES = 10 * 1024 * 1024  # 20,000 rows, in JSON too, which repeats every name in every row
IMPORT_MAX_ROWS = 20_000
