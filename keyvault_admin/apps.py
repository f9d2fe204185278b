"""The two applications of this package: Django's admin with our site as the default one, and the house itself."""

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import AdminConfig

SERVING = {"web", "worker", "beat", "signer"}


class KeyvaultAdminConfig(AdminConfig):
    default_site = "keyvault_admin.admin_site.KeyvaultAdminSite"


class FaceConfig(AppConfig):
    name = "keyvault_admin"
    label = "face"

    def ready(self) -> None:
        from keyvault_admin.checks import wires  # the package registers its checks

        if settings.ROLE in SERVING:
            wires.refuse_open_broker()
