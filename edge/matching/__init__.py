"""Answers from a bundle: the matcher, look-again passes, tracking, explanations, labels."""
