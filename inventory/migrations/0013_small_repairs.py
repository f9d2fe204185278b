from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "0012_import_jobs")]

    operations = []
