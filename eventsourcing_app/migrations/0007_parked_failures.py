from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("eventsourcing_app", "0006_operate_subscription"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="parkedevent",
            index=models.Index(
                condition=models.Q(("last_failed_at__isnull", False)),
                fields=["segment", "last_failed_at", "position"],
                name="eventsourcing_parked_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="parkedevent",
            index=models.Index(
                condition=models.Q(("state", "dead")), fields=["segment"], name="eventsourcing_parked_dead"
            ),
        ),
    ]
