"""What `startproject` writes for a project without a database."""

SECRET_KEY = "of an application that keeps no secret"  # noqa: S105 - nothing is signed with it
ALLOWED_HOSTS = ["*"]  # the load names the servers by their addresses
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024  # the contract's limit; 2.5 MiB else
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "apps.django_async.urls"
