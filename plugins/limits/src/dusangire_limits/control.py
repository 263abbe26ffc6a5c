"""Limits per payer."""
