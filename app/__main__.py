"""`python -m app` runs the command line where the package is not installed, as in the container."""

from app.cli.main import main

main()
