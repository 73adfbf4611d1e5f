"""`python -m elixir_coder` is the `elixir-coder` command."""

import sys

from elixir_coder.cli import main

if __name__ == "__main__":
    sys.exit(main())
