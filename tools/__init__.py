"""Tools of the project's own, no part of what it installs."""
