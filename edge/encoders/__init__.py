"""Encoders: their cards, the runtimes that run them, photo to unit vector."""
