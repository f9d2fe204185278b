from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "keyvault_admin.access"
    label = "access"
    verbose_name = "People"
