"""What leaves the workshop: models from and for other architectures, their size, their cards."""
