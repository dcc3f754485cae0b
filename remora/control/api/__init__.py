"""REST: apply, get, delete, check, status."""
