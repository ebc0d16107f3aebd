"""`python -m zaptrace`: the command line without the console script."""

from zaptrace.cli.main import entry

entry()
