"""`python -m jaxmap.cli`."""

from jaxmap.cli import main

main()
