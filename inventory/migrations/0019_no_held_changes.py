"""Changes that wait are requests now."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "0018_exceptions")]
