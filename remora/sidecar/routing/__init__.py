"""The compiled route table: a request's match, decision, and why."""
