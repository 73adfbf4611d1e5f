"""Credo and Sobelow: the user's installed linters, their findings, and the labels made of them."""
