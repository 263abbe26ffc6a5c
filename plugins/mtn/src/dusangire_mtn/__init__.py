"""MTN Mobile Money for DUSANGIRE payments."""
