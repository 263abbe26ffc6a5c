"""Fiscal receipts: what becomes of an invoice at the revenue authority's device."""
