"""Changes that wait for a second person, evidence of rotations, and rotating as one step of the database."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# inventory_set_state() of 0002, and this: by "key.rotated" the version that follows the current one becomes active and
# current, and the one before is deactivated, both at once. Neither half can be had alone: no login role may write which
# version is current, and a version is not deactivated by that word without a successor.
FUNCTION = r"""
CREATE OR REPLACE FUNCTION public.inventory_set_state(version_ids bigint[], target text, event_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event jsonb;
    subjects text[];
    refused record;
BEGIN
    SELECT convert_from(p.body, 'UTF8')::jsonb INTO event FROM public.audit_pending p WHERE p.id = event_id;
    IF NOT FOUND OR event ->> 'outcome' <> 'done' THEN
        RAISE EXCEPTION 'a change of state needs an event of the same transaction' USING ERRCODE = 'insufficient_privilege';
    END IF;
    subjects := ARRAY(SELECT s ->> 'ref' FROM jsonb_array_elements(event -> 'subjects') AS s);

    PERFORM 1 FROM public.inventory_keyversion v WHERE v.id = ANY (version_ids) ORDER BY v.id FOR UPDATE;
    IF (SELECT count(*) FROM public.inventory_keyversion v WHERE v.id = ANY (version_ids)) <> cardinality(version_ids) THEN
        RAISE EXCEPTION 'there is no such version' USING ERRCODE = 'no_data_found';
    END IF;

    SELECT v.key_id, v.state INTO refused
      FROM public.inventory_keyversion v
     WHERE v.id = ANY (version_ids)
       AND NOT ('key:' || v.key_id = ANY (subjects));
    IF FOUND THEN
        RAISE EXCEPTION 'the event does not speak of key %', refused.key_id USING ERRCODE = 'insufficient_privilege';
    END IF;

    SELECT v.key_id, v.state INTO refused
      FROM public.inventory_keyversion v
     WHERE v.id = ANY (version_ids)
       AND NOT (
            (v.state, target, event ->> 'action') IN (
                ('pre_activation', 'destroyed', 'key.destroyed'),
                ('pre_activation', 'compromised', 'key.compromised'),
                ('pre_activation', 'active', 'key.activated'),
                ('pre_activation', 'active', 'key.rotated'),
                ('active', 'destroyed', 'key.destroyed'),
                ('active', 'compromised', 'key.compromised'),
                ('active', 'suspended', 'key.suspended'),
                ('active', 'deactivated', 'key.deactivated'),
                ('suspended', 'destroyed', 'key.destroyed'),
                ('suspended', 'active', 'key.reactivated'),
                ('suspended', 'compromised', 'key.compromised'),
                ('suspended', 'deactivated', 'key.deactivated'),
                ('deactivated', 'compromised', 'key.compromised'),
                ('deactivated', 'destroyed', 'key.destroyed'),
                ('compromised', 'destroyed', 'key.destroyed'),
                ('destroyed', 'destroyed_compromised', 'key.compromised')
            )
            OR v.state = 'pre_activation'
               AND target IN ('active', 'suspended', 'deactivated', 'compromised')
               AND event ->> 'action' IN ('key.registered', 'key.imported')
               AND NOT EXISTS (SELECT 1 FROM public.audit_event_subject s WHERE s.subject = 'key:' || v.key_id)
       );
    IF FOUND THEN
        RAISE EXCEPTION 'key % cannot go from % to % by %', refused.key_id, refused.state, target, event ->> 'action'
            USING ERRCODE = 'check_violation';
    END IF;

    IF event ->> 'action' = 'key.rotated' THEN
        PERFORM 1 FROM public.inventory_keyversion old
           JOIN public.inventory_keyversion v ON v.key_id = old.key_id
          WHERE v.id = ANY (version_ids)
          ORDER BY old.id FOR UPDATE OF old;
        SELECT v.key_id, v.state INTO refused
          FROM public.inventory_keyversion v
          JOIN public.inventory_key k ON k.id = v.key_id
          LEFT JOIN public.inventory_keyversion old ON old.key_id = k.id AND old.number = k.current_number
         WHERE v.id = ANY (version_ids)
           AND NOT (v.number = k.current_number + 1 AND coalesce(old.state IN ('active', 'suspended'), false));
        IF FOUND THEN
            RAISE EXCEPTION 'this is not the next version of key %, or the one before is not in use', refused.key_id
                USING ERRCODE = 'check_violation';
        END IF;
        UPDATE public.inventory_keyversion old SET state = 'deactivated'
          FROM public.inventory_keyversion v
          JOIN public.inventory_key k ON k.id = v.key_id
         WHERE v.id = ANY (version_ids) AND old.key_id = k.id AND old.number = k.current_number;
        UPDATE public.inventory_key k SET current_number = v.number
          FROM public.inventory_keyversion v
         WHERE v.id = ANY (version_ids) AND k.id = v.key_id;
    END IF;

    UPDATE public.inventory_keyversion v SET state = target WHERE v.id = ANY (version_ids);
    UPDATE public.inventory_key k SET state = target
      FROM public.inventory_keyversion v
     WHERE v.id = ANY (version_ids) AND k.id = v.key_id AND k.current_number = v.number;
END
$$;
"""

# A question is never changed or taken out; what may be written later is how it ended. Evidence is written once.
GRANTS = """
GRANT SELECT ON public.inventory_rotationevidence, public.inventory_heldchange TO keyvault_app;
GRANT INSERT ON public.inventory_rotationevidence, public.inventory_heldchange TO keyvault_web, keyvault_command;
GRANT UPDATE (state, decided_by_id, decided_at, decision_reason) ON public.inventory_heldchange
    TO keyvault_web, keyvault_command;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0006_clauses"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="RotationEvidence",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("rotated_on", models.DateField()),
                ("text", models.TextField(max_length=25000)),
                ("url", models.URLField(blank=True, max_length=500, verbose_name="link")),
                ("reported_at", models.DateTimeField()),
                (
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rotation_evidence",
                        to="inventory.key",
                    ),
                ),
                (
                    "reported_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "rotation evidence",
                "permissions": [("report_rotation", "Can report a rotation done elsewhere")],
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="HeldChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("edit", "edit"), ("import", "import"), ("rotation", "rotation")], max_length=10
                    ),
                ),
                ("changes", models.JSONField()),
                ("before", models.JSONField()),
                ("rotate_by_before", models.DateTimeField(null=True)),
                ("rotate_by_after", models.DateTimeField(null=True)),
                ("expected_revision", models.PositiveIntegerField()),
                ("reason", models.TextField(max_length=25000)),
                ("requested_by_ref", models.CharField(max_length=100)),
                ("requested_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "waiting"),
                            ("confirmed", "confirmed"),
                            ("rejected", "rejected"),
                            ("withdrawn", "withdrawn"),
                            ("void", "void"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("decided_at", models.DateTimeField(null=True)),
                ("decision_reason", models.CharField(blank=True, max_length=500)),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="held_changes", to="inventory.key"
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "evidence",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="held_change",
                        to="inventory.rotationevidence",
                    ),
                ),
            ],
            options={
                "verbose_name": "held change",
                "ordering": ["-requested_at", "-pk"],
                "permissions": [("confirm_heldchange", "Can confirm a change that makes a key less late")],
                "default_permissions": ("view",),
            },
        ),
        migrations.AddConstraint(
            model_name="rotationevidence",
            constraint=models.CheckConstraint(
                condition=models.Q(("text", ""), _negated=True), name="rotationevidence_has_text"
            ),
        ),
        migrations.AddIndex(
            model_name="heldchange",
            index=models.Index(fields=["-requested_at", "-id"], name="heldchange_newest"),
        ),
        migrations.AddConstraint(
            model_name="heldchange",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "pending")), fields=("key",), name="heldchange_one_pending"
            ),
        ),
        migrations.AddConstraint(
            model_name="heldchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("requested_by__isnull", True),
                    ("decided_by__isnull", True),
                    models.Q(("decided_by", models.F("requested_by")), _negated=True),
                    _connector="OR",
                ),
                name="heldchange_not_decided_by_requester",
            ),
        ),
        migrations.AddConstraint(
            model_name="heldchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at__isnull", True), ("state", "pending")),
                    models.Q(models.Q(("state", "pending"), _negated=True), ("decided_at__isnull", False)),
                    _connector="OR",
                ),
                name="heldchange_closed_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="heldchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("decided_by__isnull", False),
                        ("state__in", ["confirmed", "rejected"]),
                        models.Q(("decision_reason", ""), _negated=True),
                    ),
                    models.Q(
                        models.Q(("state__in", ["confirmed", "rejected"]), _negated=True), ("decided_by__isnull", True)
                    ),
                    _connector="OR",
                ),
                name="heldchange_decided_by_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="heldchange",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("evidence__isnull", False), ("kind", "rotation")),
                    models.Q(models.Q(("kind", "rotation"), _negated=True), ("evidence__isnull", True)),
                    _connector="OR",
                ),
                name="heldchange_rotation_has_evidence",
            ),
        ),
        migrations.RunSQL(FUNCTION, migrations.RunSQL.noop),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
