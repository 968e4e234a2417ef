"""What cameras report: events, the log they are written to first, and who gets them from there (standard output, MQTT, webhooks)."""
