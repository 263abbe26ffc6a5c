"""Airtel Money for DUSANGIRE payments."""
