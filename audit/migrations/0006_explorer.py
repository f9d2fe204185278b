"""Nothing yet."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_exports")]

    operations: list[object] = []
