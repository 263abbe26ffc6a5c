"""Bank transfer for DUSANGIRE payments."""
