"""A whole mesh on one machine, and a story that is told about it. Uses only what users use."""
