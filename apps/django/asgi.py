"""Django as `startproject` writes it, for ASGI: `app`. Its views are those of the WSGI form."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "apps.django.settings")

app = get_asgi_application()
