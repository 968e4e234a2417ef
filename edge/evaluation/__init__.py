"""Recall and unknown queries measured on labelled photos."""
