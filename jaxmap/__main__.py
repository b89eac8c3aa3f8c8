"""`python -m jaxmap`."""

from jaxmap.cli import main

main()
