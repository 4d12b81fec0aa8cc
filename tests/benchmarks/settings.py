"""Django in the processes of the benchmark: what the measured account needs, and nothing else."""

from __future__ import annotations

from tests.benchmarks.job import given

JOB = given()

DATABASES = {"default": JOB.place.django(prepared=JOB.prepared)}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_q",
    "eventsourcing_app",
    "tests.benchmarks.bank",
]
if JOB.side == "simple_history_side":
    INSTALLED_APPS = [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "simple_history",
        "tests.benchmarks.plain_bank",
    ]
MIDDLEWARE = ["eventsourcing_app.middleware.EventContextMiddleware"]
EVENTSOURCING = {"DISPATCHER": JOB.dispatcher}
Q_CLUSTER = {
    "name": "benchmarks",
    "orm": "default",
    "workers": 2,
    "timeout": 60,
    "retry": 120,
    "ack_failures": True,
    "max_attempts": 1,
    "save_limit": -1,
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "of-the-benchmark"
USE_TZ = True
