"""What cameras report: events, the log they are written to first, and the ways out of it (standard output, MQTT, webhooks)."""
