"""The same project with asynchronous views, as ASGI runs it."""

from apps.django_orm.settings import *  # noqa: F403 - Django's own way to vary settings

ROOT_URLCONF = "apps.django_orm.asgi_urls"
