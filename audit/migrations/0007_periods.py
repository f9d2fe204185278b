"""Nothing yet."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("audit", "0006_explorer")]

    operations: list[object] = []
