"""`python -m gatebench` is the `gatebench` command."""

from gatebench.cli import main

main()
