"""The books: what came in, what is on its way, and what nobody can explain yet."""
