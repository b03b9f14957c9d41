"""Django as `startproject` writes it, with asynchronous views: `app`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "apps.django_async.settings")

app = get_asgi_application()
