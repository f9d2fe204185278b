"""Nothing yet."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_reseal")]

    operations: list[object] = []
