"""Processes that carry traffic, and the one that starts them and speaks for all."""
