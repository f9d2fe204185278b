"""The face and the wiring of Keyvault Admin; nothing imports it."""

from keyvault_admin.celery import app as celery_app

__all__ = ["celery_app"]
