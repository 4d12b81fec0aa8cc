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
    "tests.benchmarks.reactions",
]
if JOB.side == "simple_history_side":
    INSTALLED_APPS = [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "simple_history",
        "tests.benchmarks.plain_bank",
    ]
if JOB.side == "ours_http":
    INSTALLED_APPS += ["rest_framework", "tests.benchmarks.web"]
    ROOT_URLCONF = "tests.benchmarks.web.urls"
    DATABASES["default"]["CONN_MAX_AGE"] = None
    ALLOWED_HOSTS = ["localhost"]
OF_THE_ADMIN = JOB.side in ("ours_admin", "ours_office")
if OF_THE_ADMIN:
    INSTALLED_APPS += [
        "django.contrib.admin",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "tests.benchmarks.office",
    ]
    ROOT_URLCONF = "tests.benchmarks.office.urls"
    DATABASES["default"]["CONN_MAX_AGE"] = None
    ALLOWED_HOSTS = ["localhost"]
    STATIC_URL = "static/"
    TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ]
MIDDLEWARE = ["eventsourcing_app.middleware.EventContextMiddleware"]
if OF_THE_ADMIN:
    MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        *MIDDLEWARE,
    ]
EVENTSOURCING = {"DISPATCHER": JOB.dispatcher}
CLUSTERS: dict[str, dict[str, float]] = {
    "": {"workers": 2},
    "plain": {"workers": 2, "poll": 0.2},
    # What did the most tasks a second of all that was tried (1 to 8 workers, bulk 50 to 1,000, 1 to 4 clusters):
    # connections that stay, tasks fetched by the hundred, more workers than processors.
    "fastest": {"workers": 4, "poll": 0.001, "bulk": 100, "queue_limit": 400, "recycle": 1_000_000},
}
Q_CLUSTER = {
    "name": "benchmarks",
    "orm": "default",
    "timeout": 60,
    "retry": 120,
    "ack_failures": True,
    "max_attempts": 1,
    "save_limit": -1,
    "log_level": "ERROR",
    **CLUSTERS[JOB.cluster],
}
if JOB.cluster:
    DATABASES["default"]["CONN_MAX_AGE"] = None
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "of-the-benchmark"
USE_TZ = True
