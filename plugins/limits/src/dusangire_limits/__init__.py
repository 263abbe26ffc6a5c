"""Limits per payer for DUSANGIRE payments."""
