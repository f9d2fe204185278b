"""Rules of the house that ask for more votes."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("rotation", "0006_duties")]
