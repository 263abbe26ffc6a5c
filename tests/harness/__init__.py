"""The chaos harness: the whole system as real processes, and the judges of what became of it."""
