"""Shelf cameras: the plan of a shelf, what a fixed camera sees of it, and what changed."""
