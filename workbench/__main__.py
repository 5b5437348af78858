"""`python -m workbench`, as torchrun starts it: the command `workbench`."""

from workbench.cli import main

main()
