"""Fiscal receipts of Rwanda (RRA EBM 2.1), signed by a VSDC."""
