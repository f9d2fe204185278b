from django.apps import AppConfig


class RotationConfig(AppConfig):
    name = "rotation"
    verbose_name = "Work"

    def ready(self) -> None:
        from audit.anchors import KINDS
        from inventory.asking import use_engine
        from rotation.anchors import MailAnchor
        from rotation.approvals import ApprovalEngine
        from rotation.operations import declared  # noqa: F401 - declares the guarded operations
        from rotation.rewrap.elsewhere import register
        from rotation.source_ranges import SourceRanges

        KINDS["mail"] = MailAnchor  # audit knows no outbox
        use_engine(ApprovalEngine())  # inventory knows no votes
        register(SourceRanges())  # a job knows no other database
