"""Statements come in: files that people upload, the accounts they tell of, and their lines."""
