"""Plain services that know nothing of the mesh: a small dive shop and what it is made of."""
