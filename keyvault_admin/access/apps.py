from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "keyvault_admin.access"
    label = "access"
    verbose_name = "People"

    def ready(self) -> None:
        from keyvault_admin.access import operations  # noqa: F401 - declares the guarded operations about people
