"""Checks that this machine can run shelfmatch, and says how to fix what fails."""
