"""The two applications of this package: Django's admin with our site as the default one, and the house itself."""

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import AdminConfig
from django.core.exceptions import ImproperlyConfigured

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
        if settings.ROLE == "signer":
            _refuse_unknown_anchors()


def _refuse_unknown_anchors() -> None:
    """The signer does not start with anchors that cannot be read: it would sign, and nobody would keep it."""
    from audit.anchors import AnchorError, configured_anchors

    try:
        configured_anchors()
    except AnchorError as error:
        raise ImproperlyConfigured(str(error)) from error
