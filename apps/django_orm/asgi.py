"""Django with its ORM and asynchronous views, as `startproject` writes it: `app`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "apps.django_orm.asgi_settings")

app = get_asgi_application()
