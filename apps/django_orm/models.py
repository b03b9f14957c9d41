"""The lab's tables as Django's models, which its migrations leave alone."""

from django.db import models


class Entry(models.Model):
    """A row that is read."""

    value = models.IntegerField()

    class Meta:
        """Whose table it is."""

        managed = False
        db_table = "entry"


class Counter(models.Model):
    """A row that is updated."""

    value = models.IntegerField()

    class Meta:
        """Whose table it is."""

        managed = False
        db_table = "counter"


class Fortune(models.Model):
    """A message."""

    message = models.TextField()

    class Meta:
        """Whose table it is."""

        managed = False
        db_table = "fortune"
