"""Vendors, consumers and parents of keys, periods of use, and the digest that finds a key by its material."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models

# Nothing that was registered is ever deleted; a link between two records is: what it was stands in the log. The period of
# use is said once, at registration, so no login may update it.
GRANTS = r"""
GRANT SELECT ON public.inventory_vendor, public.inventory_keyconsumer, public.inventory_keyparent TO keyvault_app;
GRANT INSERT (name, notes), UPDATE (name, notes) ON public.inventory_vendor TO keyvault_app;
GRANT INSERT (key_id, service_id, is_approved), UPDATE (is_approved), DELETE
    ON public.inventory_keyconsumer TO keyvault_app;
GRANT INSERT (child_id, parent_id, relation), DELETE ON public.inventory_keyparent TO keyvault_app;
GRANT INSERT (team_id, tier, data_classes, vendor_id), UPDATE (team_id, tier, data_classes, vendor_id)
    ON public.inventory_service TO keyvault_app;
GRANT INSERT (vendor_id, activates_at, protect_until, process_until), UPDATE (vendor_id)
    ON public.inventory_key TO keyvault_app;
GRANT INSERT (reuse_digest), UPDATE (reuse_digest) ON public.inventory_keyversion TO keyvault_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0004_algorithms"),
    ]

    operations = [
        migrations.CreateModel(
            name="KeyConsumer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("is_approved", models.BooleanField(default=False)),
            ],
            options={
                "ordering": ["service__name"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="KeyParent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "relation",
                    models.CharField(
                        choices=[("wrapped_by", "wrapped by"), ("derived_from", "derived from")], max_length=20
                    ),
                ),
            ],
            options={
                "ordering": ["relation", "parent__name"],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Vendor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200, unique=True)),
                ("notes", models.TextField(blank=True)),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.AlterModelOptions(
            name="key",
            options={
                "base_manager_name": "objects",
                "ordering": ["rotate_by", "pk"],
                "permissions": [
                    ("change_own_key", "Can change and suspend keys that one owns"),
                    ("suspend_key", "Can suspend a key at once"),
                    ("import_keys", "Can import an inventory"),
                    ("find_token", "Can look up the record of a token that was found"),
                ],
            },
        ),
        migrations.RemoveConstraint(
            model_name="key",
            name="key_is_not_its_own_parent",
        ),
        migrations.RemoveField(
            model_name="key",
            name="parent",
        ),
        migrations.AddField(
            model_name="key",
            name="activates_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="comes into use"),
        ),
        migrations.AddField(
            model_name="key",
            name="process_until",
            field=models.DateTimeField(blank=True, null=True, verbose_name="opens what it protected until"),
        ),
        migrations.AddField(
            model_name="key",
            name="protect_until",
            field=models.DateTimeField(blank=True, null=True, verbose_name="protects until"),
        ),
        migrations.AddField(
            model_name="keyversion",
            name="reuse_digest",
            field=models.BinaryField(null=True),
        ),
        migrations.AddField(
            model_name="service",
            name="data_classes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("public", "public"),
                        ("internal", "internal"),
                        ("confidential", "confidential"),
                        ("restricted", "restricted"),
                    ],
                    max_length=20,
                ),
                blank=True,
                default=list,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="service",
            name="team",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="services",
                to="inventory.owner",
            ),
        ),
        migrations.AddField(
            model_name="service",
            name="tier",
            field=models.PositiveSmallIntegerField(
                blank=True,
                choices=[
                    (1, "1: the business stops"),
                    (2, "2: customers notice"),
                    (3, "3: colleagues notice"),
                    (4, "4: can wait"),
                ],
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="keyversion",
            index=models.Index(
                condition=models.Q(("reuse_digest__isnull", False)), fields=["reuse_digest"], name="keyversion_reuse"
            ),
        ),
        migrations.AddConstraint(
            model_name="keyversion",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reuse_digest__isnull", True),
                    django.db.models.lookups.Exact(django.db.models.functions.text.Length("reuse_digest"), 32),
                    _connector="OR",
                ),
                name="keyversion_reuse_digest_whole",
            ),
        ),
        migrations.AddField(
            model_name="keyconsumer",
            name="key",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="consumers", to="inventory.key"
            ),
        ),
        migrations.AddField(
            model_name="keyconsumer",
            name="service",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="consumptions", to="inventory.service"
            ),
        ),
        migrations.AddField(
            model_name="keyparent",
            name="child",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="parent_links", to="inventory.key"
            ),
        ),
        migrations.AddField(
            model_name="keyparent",
            name="parent",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="child_links", to="inventory.key"
            ),
        ),
        migrations.AddConstraint(
            model_name="vendor",
            constraint=models.CheckConstraint(condition=models.Q(("name", ""), _negated=True), name="vendor_has_name"),
        ),
        migrations.AddField(
            model_name="key",
            name="vendor",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="keys",
                to="inventory.vendor",
            ),
        ),
        migrations.AddField(
            model_name="service",
            name="vendor",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="services",
                to="inventory.vendor",
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(("activates_at__isnull", False), ("state", "pre_activation")),
                fields=["activates_at"],
                name="key_to_be_activated",
            ),
        ),
        migrations.AddIndex(
            model_name="key",
            index=models.Index(
                condition=models.Q(("protect_until__isnull", False), ("state__in", ["active", "suspended"])),
                fields=["protect_until"],
                name="key_to_be_deactivated",
            ),
        ),
        migrations.AddConstraint(
            model_name="key",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("activates_at__isnull", True),
                    ("protect_until__isnull", True),
                    ("protect_until__gt", models.F("activates_at")),
                    _connector="OR",
                ),
                name="key_protects_after_activation",
                violation_error_message="It would stop protecting before it comes into use.",
            ),
        ),
        migrations.AddConstraint(
            model_name="key",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("process_until__isnull", True), ("process_until__gte", models.F("protect_until")), _connector="OR"
                ),
                name="key_processes_after_protecting",
                violation_error_message="It opens what it protected at least for as long as it protects.",
            ),
        ),
        migrations.AddConstraint(
            model_name="service",
            constraint=models.CheckConstraint(
                condition=models.Q(("tier__isnull", True), ("tier__range", (1, 4)), _connector="OR"),
                name="service_tier_in_range",
            ),
        ),
        migrations.AddConstraint(
            model_name="keyconsumer",
            constraint=models.UniqueConstraint(fields=("key", "service"), name="keyconsumer_unique"),
        ),
        migrations.AddConstraint(
            model_name="keyparent",
            constraint=models.UniqueConstraint(fields=("child", "parent", "relation"), name="keyparent_unique"),
        ),
        migrations.AddConstraint(
            model_name="keyparent",
            constraint=models.CheckConstraint(
                condition=models.Q(("child", models.F("parent")), _negated=True), name="keyparent_is_another_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="keyparent",
            constraint=models.CheckConstraint(
                condition=models.Q(("relation__in", ["wrapped_by", "derived_from"])), name="keyparent_relation_known"
            ),
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
