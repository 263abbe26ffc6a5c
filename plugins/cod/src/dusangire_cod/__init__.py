"""Cash on delivery for DUSANGIRE payments."""
