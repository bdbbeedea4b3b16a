"""What viewers see over bad networks: Chromium, a relay, and viewers that misbehave."""
