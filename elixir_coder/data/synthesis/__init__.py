"""Exercises that we write ourselves: drawn from families, composed by type, verified by running them."""
