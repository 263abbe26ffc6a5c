"""Card payments on a hosted page for DUSANGIRE payments."""
