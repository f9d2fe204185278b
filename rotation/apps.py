from django.apps import AppConfig


class RotationConfig(AppConfig):
    name = "rotation"
    verbose_name = "Work"

    def ready(self) -> None:
        from audit.anchors import KINDS
        from rotation.anchors import MailAnchor

        KINDS["mail"] = MailAnchor  # audit knows no outbox
