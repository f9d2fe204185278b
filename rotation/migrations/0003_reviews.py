"""Nothing yet."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("rotation", "0002_grants")]

    operations: list[object] = []
