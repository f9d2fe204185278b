"""Exceptions to clauses."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("inventory", "0017_permits")]
