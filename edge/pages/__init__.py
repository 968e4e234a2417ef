"""Self-contained HTML pages about a build and an evaluation."""
