"""The commands that talk to a running control over REST."""
