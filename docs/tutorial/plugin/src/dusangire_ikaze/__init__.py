"""Ikaze for DUSANGIRE payments."""
