"""What people are given by votes, the worker carries out."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("access", "0011_proof")]
