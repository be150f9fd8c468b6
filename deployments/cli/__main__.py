"""`python -m deployments.cli`: the same as `obm`."""

from deployments.cli import main

main()
