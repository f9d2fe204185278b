"""Checkpoints, the tiles of the tree, and their way to anchors outside. The signer's login alone writes them."""

import django.db.models.deletion
from django.db import migrations, models

GUARDS = """
-- A tile grows to the right, never changes what it holds and never shrinks.
CREATE FUNCTION public.audit_tile_grows() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF substring(NEW.digests FOR length(OLD.digests)) <> OLD.digests THEN
        RAISE EXCEPTION 'tile %/% of the audit log would be rewritten', OLD.level, OLD.index;
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION public.audit_tile_grows() FROM PUBLIC;
CREATE TRIGGER audit_tile_grows BEFORE UPDATE ON public.audit_tile
    FOR EACH ROW EXECUTE FUNCTION public.audit_tile_grows();
ALTER TABLE public.audit_tile ADD CONSTRAINT audit_tile_of_digests
    CHECK (level >= 0 AND index >= 0 AND length(digests) % 32 = 0 AND length(digests) BETWEEN 32 AND 8192);

GRANT SELECT ON public.audit_signing_epoch, public.audit_checkpoint, public.audit_tile, public.audit_anchoring
    TO keyvault_app;
GRANT INSERT ON public.audit_signing_epoch, public.audit_checkpoint TO keyvault_signer;
GRANT INSERT, UPDATE (digests) ON public.audit_tile TO keyvault_signer;
GRANT INSERT, UPDATE (state, tries, next_at, delivered_at, receipt, error) ON public.audit_anchoring TO keyvault_signer;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0001_log"),
    ]

    operations = [
        migrations.CreateModel(
            name="Tile",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "level", "index", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("level", models.SmallIntegerField()),
                ("index", models.BigIntegerField()),
                ("digests", models.BinaryField()),
            ],
            options={
                "db_table": "audit_tile",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="SigningEpoch",
            fields=[
                ("epoch", models.IntegerField(primary_key=True, serialize=False)),
                ("verifier", models.TextField(unique=True)),
                ("begun_at", models.DateTimeField()),
            ],
            options={
                "db_table": "audit_signing_epoch",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("epoch__gte", 1)), name="audit_signingepoch_counts")
                ],
            },
        ),
        migrations.CreateModel(
            name="SignedCheckpoint",
            fields=[
                ("size", models.BigIntegerField(primary_key=True, serialize=False)),
                ("root", models.BinaryField()),
                ("head", models.BinaryField()),
                ("made_at", models.DateTimeField()),
                ("note", models.TextField()),
                ("digest", models.BinaryField(unique=True)),
                (
                    "epoch",
                    models.ForeignKey(
                        db_column="epoch",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="checkpoints",
                        to="audit.signingepoch",
                    ),
                ),
            ],
            options={
                "db_table": "audit_checkpoint",
                "ordering": ["-size"],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Anchoring",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("anchor", models.TextField()),
                (
                    "state",
                    models.TextField(
                        choices=[("waiting", "Waiting"), ("delivered", "Delivered"), ("given up", "Given Up")],
                        default="waiting",
                    ),
                ),
                ("tries", models.IntegerField(default=0)),
                ("next_at", models.DateTimeField()),
                ("delivered_at", models.DateTimeField(null=True)),
                ("receipt", models.TextField(blank=True)),
                ("error", models.TextField(blank=True)),
                (
                    "checkpoint",
                    models.ForeignKey(
                        db_column="size",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="anchorings",
                        to="audit.signedcheckpoint",
                    ),
                ),
            ],
            options={
                "db_table": "audit_anchoring",
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "waiting")), fields=["next_at"], name="audit_anchoring_waiting"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("checkpoint", "anchor"), name="audit_anchoring_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("delivered_at__isnull", False), ("state", "delivered")),
                            models.Q(models.Q(("state", "delivered"), _negated=True), ("delivered_at__isnull", True)),
                            _connector="OR",
                        ),
                        name="audit_anchoring_delivered_has_time",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
    ]
