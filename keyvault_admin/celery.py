"""The Celery application: tasks are nudges, rows in PostgreSQL are the truth."""

import os

from celery import Celery
from celery.signals import beat_init, worker_init, worker_process_init

from keyvault_admin.hardening import harden

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_admin.settings")

app = Celery("keyvault")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@worker_process_init.connect
@beat_init.connect
def keep_keys_in(**_signal: object) -> None:
    """Before the first task, in the worker, each process of its pool, and the beat."""
    harden()
