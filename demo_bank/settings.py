"""Settings of the demo: an ordinary Django project with three additions, each marked "event sourcing".

Read from the environment: ``DATABASE_URL``, ``DEBUG``, ``SECRET_KEY``, ``ALLOWED_HOSTS``, ``LOG_LEVEL``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dj_database_url
import django
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DEBUG", "1").lower() in {"1", "true", "yes", "on"}
SECRET_KEY = os.environ.get("SECRET_KEY", "insecure-key-of-the-demo-never-use-it-elsewhere" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("Set SECRET_KEY in the environment: only DEBUG has a default for it.")
ALLOWED_HOSTS = [host.strip() for host in os.environ.get("ALLOWED_HOSTS", "").split(",") if host.strip()]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "eventsourcing_app",  # event sourcing: the app
    "demo_bank",
]

MIDDLEWARE = [
    "eventsourcing_app.middleware.EventContextMiddleware",  # event sourcing: who changed it, in which request
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",  # the admin in the language of the browser
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# Event sourcing: every key has a sensible default, see eventsourcing_app/conf.py.
EVENTSOURCING: dict[str, Any] = {}
if DEBUG:
    EVENTSOURCING["CLOCK"] = "demo_bank.clock.now"  # the real time, but for the seeded history

# What the log wants of a database, whichever it is.
DATABASE_OPTIONS: dict[str, dict[str, Any]] = {
    # Several processes write: a transaction waits for its turn at BEGIN instead of failing halfway. This is money: with
    # FULL, what was committed also survives a power cut.
    "django.db.backends.sqlite3": {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
    },
    "django.db.backends.postgresql": {
        # A session that is forgotten in a transaction would hold back every subscription.
        "options": "-c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
        # The statements of every save are planned once a connection. Not behind a pooler that cannot keep them.
        "prepare_threshold": 5,
    },
}
DATABASES: dict[str, Any] = {
    "default": dj_database_url.config(
        default=f"sqlite:///{BASE_DIR / 'demo_bank.sqlite3'}", conn_max_age=60, conn_health_checks=True
    )
}
DATABASES["default"]["OPTIONS"] = {
    **DATABASE_OPTIONS.get(DATABASES["default"]["ENGINE"], {}),
    **DATABASES["default"].get("OPTIONS", {}),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The queue carries only the hint that there may be work; nothing is lost with it, so it is tuned for speed.
Q_CLUSTER: dict[str, Any] = {
    "name": "demo_bank",
    "orm": "default",
    "workers": 2,
    "timeout": 60,
    "retry": 120,
    "ack_failures": True,
    "max_attempts": 1,
    "save_limit": -1,
    "bulk": 1,
    "queue_limit": 4,
    "poll": 0.2,
    "catch_up": False,
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "eventsourcing_app.api.ApiSchema",  # event sourcing: the schema of its views
    "EXCEPTION_HANDLER": "eventsourcing_app.api.exception_handler",  # event sourcing: problems from every other view
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Demo bank",
    "DESCRIPTION": "Accounts, their commands and their audit trails.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    # Swagger UI from this server's own files: it works without the network.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

ROOT_URLCONF = "demo_bank.urls"
CSRF_FAILURE_VIEW = "eventsourcing_app.api.handlers.csrf_failure"
WSGI_APPLICATION = "demo_bank.wsgi.application"
ASGI_APPLICATION = "demo_bank.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

# Mail is written to files: have a look at them.
SENT_MAIL = BASE_DIR / "sent_mail"
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "OPTIONS": {"file_path": SENT_MAIL},
        }
    }
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = SENT_MAIL
DEFAULT_FROM_EMAIL = "bank@example.com"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {name: {"level": os.environ.get("LOG_LEVEL", "INFO")} for name in ("eventsourcing_app", "demo_bank")},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
