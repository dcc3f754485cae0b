"""How much of each product is there: a TCP server that speaks first, line by line."""
