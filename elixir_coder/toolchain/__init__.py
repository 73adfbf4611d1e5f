"""Elixir's own tools, run safely."""
