"""elixir-coder: a small encoder-decoder that writes Elixir, and everything that makes it useful."""

__version__ = "0.1.0"
