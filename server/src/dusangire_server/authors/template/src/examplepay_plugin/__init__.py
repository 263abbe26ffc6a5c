"""Example Pay for DUSANGIRE payments."""
