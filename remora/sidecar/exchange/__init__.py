"""One request's life: a downstream stream and its attempts upstream."""
