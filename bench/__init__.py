"""How fast it is, beside what the machine could do at most: `make bench`."""
