"""Frames of fixed cameras: what one is, where they come from, and what a source does when its camera drops out."""
