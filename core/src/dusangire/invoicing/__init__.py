"""Invoices and credit notes: numbers, tax, the merchant's name, and how they look."""
