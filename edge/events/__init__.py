"""Events: what was there from when to when, kept in events.jsonl and told to webhooks and MQTT."""
