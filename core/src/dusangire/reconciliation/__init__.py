"""Statements against our own records: what belongs together, and what does not agree."""
