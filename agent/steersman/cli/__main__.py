"""`python -m steersman.cli`: the same as the `steersman` command."""

from steersman.cli.main import main

main()
