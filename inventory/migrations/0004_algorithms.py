from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "0003_rotation_clauses")]

    operations = []
