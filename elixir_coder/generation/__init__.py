"""Text in, Elixir out."""
