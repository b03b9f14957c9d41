"""`python -m gatebench` is the `gatebench` command."""

from gatebench.cli.app import main

main()
