"""Sources of Elixir code -> cleaned, licensed, split parquet shards of `Example`."""
