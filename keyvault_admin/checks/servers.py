"""Live checks of broker and mail server: they answer, and they answer nobody without a password or TLS."""

import smtplib
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core import mail
from redis.backoff import NoBackoff
from redis.retry import Retry

from keyvault_admin.checks.bounds import SOCKET_SECONDS, bounded
from keyvault_admin.checks.rules import Answer, Group, Rule
from keyvault_admin.checks.wires import SMTP

REFUSALS = (redis.AuthenticationError, redis.exceptions.NoPermissionError, redis.ResponseError)


def broker_answers() -> Answer:
    bounded(lambda: _ping(settings.CELERY_BROKER_URL))
    return Answer("The broker answers.")


def broker_refuses_strangers() -> Answer:
    """Ask again without the password: a server can have none although the URL gives one."""
    try:
        bounded(lambda: _ping(_anonymous(settings.CELERY_BROKER_URL)))
    except REFUSALS:
        return Answer("The broker refuses whoever gives no password.")
    except redis.ConnectionError as error:
        if "DENIED" not in str(error):  # protected mode: it hangs up on other machines
            raise
        return Answer("The broker refuses whoever gives no password.")
    return Answer(
        "The broker answers without any password.",
        "Set `requirepass` (or `user default off` and an ACL user) in the broker's configuration, and restart it.",
    )


def _ping(url: str) -> None:
    client = redis.Redis.from_url(
        url,
        protocol=2,  # PING comes first, without a greeting that could fail for other reasons
        socket_connect_timeout=SOCKET_SECONDS,
        socket_timeout=SOCKET_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        client.ping()
    finally:
        client.close()


def _anonymous(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def mail_server_answers() -> Answer:
    """Greet, STARTTLS or TLS with verification, log in, and leave without a mail."""
    if settings.EMAIL_BACKEND != SMTP:
        return Answer("There is no mail server to ask.")
    try:
        bounded(_greet)
    except smtplib.SMTPAuthenticationError as error:
        return Answer(f"The mail server refuses our name or password ({error.smtp_code}).", "Mend EMAIL_URL.")
    except smtplib.SMTPNotSupportedError:
        return Answer(
            "The mail server offers no STARTTLS, or no login; nothing was sent to it.",
            "Use smtp+ssl://…:465, or another server, in EMAIL_URL.",
        )
    except smtplib.SMTPResponseException as error:
        return Answer(
            f"The mail server answers {error.smtp_code} instead of letting us in.",
            "Look at its log; nothing was sent to it.",
        )
    return Answer("The mail server answers and lets us in.")


def _greet() -> None:
    connection = mail.get_connection(timeout=SOCKET_SECONDS)
    try:
        connection.open()
    finally:
        connection.close()


BROKER = (
    Rule("face.E050", Group.BROKER, "the broker answers", broker_answers),
    Rule("face.E051", Group.BROKER, "the broker refuses who has no password", broker_refuses_strangers),
)
MAIL = (Rule("face.E055", Group.MAIL, "the mail server lets us in", mail_server_answers),)
