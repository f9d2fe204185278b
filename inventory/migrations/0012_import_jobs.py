from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "0011_list_speed")]

    operations = []
