"""How long the log is kept is decided by votes."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("audit", "0006_periods")]
