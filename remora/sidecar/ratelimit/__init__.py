"""The client of other people's rate limit services."""
