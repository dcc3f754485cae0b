"""Says why: what would happen to a request, and what has happened to one."""
