"""Elixir code as a graph: schemas, extraction, validation, the store and its words."""
