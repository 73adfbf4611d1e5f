"""Objectives: what the encoder reads and the decoder writes, made from a piece of source. One file per task."""
