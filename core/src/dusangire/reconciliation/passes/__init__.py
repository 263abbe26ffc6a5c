"""Ways to find what belongs together, each surer than the next."""
