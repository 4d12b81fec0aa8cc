from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("eventsourcing_app", "0005_payloads_exports_and_periods"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="subscription",
            options={
                "default_permissions": ("view",),
                "ordering": ("name",),
                "permissions": (("operate_subscription", "Can operate subscriptions"),),
                "verbose_name": "subscription",
                "verbose_name_plural": "subscriptions",
            },
        ),
    ]
