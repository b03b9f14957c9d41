"""Django with its ORM and synchronous views, as `startproject` writes it: `app`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "apps.django_orm.settings")

app = get_wsgi_application()
