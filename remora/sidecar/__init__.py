"""The proxy beside each instance."""
