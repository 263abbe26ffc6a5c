"""Fiscal receipts by a VSDC."""
