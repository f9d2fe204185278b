from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "0007_held_changes")]

    operations = []
