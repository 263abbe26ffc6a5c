"""Reads bank and wallet statements for DUSANGIRE payments."""
