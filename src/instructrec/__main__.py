"""``python -m instructrec``: the command line."""

from instructrec.cli import main

main()
