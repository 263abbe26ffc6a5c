"""Months whose truth is known: what was paid, what statements say of it, and what is wrong."""
