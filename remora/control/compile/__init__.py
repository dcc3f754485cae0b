"""Documents and instances into what sidecars are sent."""
