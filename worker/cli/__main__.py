"""`python -m worker.cli`: the `innerloop` command where its script is not on PATH."""

from worker.cli.app import main

main()
