"""A small bank, both a Django project and an app: what a user of ``eventsourcing_app`` would write."""
