"""What has to be looked at afterwards."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("rotation", "0005_requests")]
