"""The least that an application can do: what the plain one costs is seen against it."""
