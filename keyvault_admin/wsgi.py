"""The application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from keyvault_admin.hardening import harden

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_admin.settings")

harden()

application = get_wsgi_application()
