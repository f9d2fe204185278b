"""Which key stands above which: it wraps the other, or the other is derived from it."""

from django.db import models
from django.db.models import F, Q

from inventory.models.key import Key
from inventory.terms import Relation


class KeyParent(models.Model):
    """One step up. Services refuse a step that would lead back to the child; the database refuses the shortest one."""

    child = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="parent_links")
    parent = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="child_links")
    relation = models.CharField(max_length=20, choices=Relation)

    class Meta:
        ordering = ["relation", "parent__name"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["child", "parent", "relation"], name="keyparent_unique"),
            models.CheckConstraint(condition=~Q(child=F("parent")), name="keyparent_is_another_key"),
            models.CheckConstraint(condition=Q(relation__in=Relation.values), name="keyparent_relation_known"),
        ]

    def __str__(self) -> str:
        return f"{self.child} {self.get_relation_display()} {self.parent}"
