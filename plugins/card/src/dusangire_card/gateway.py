"""Card payments on a hosted page."""
