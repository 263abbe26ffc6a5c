"""Invoices and credit notes on paper: one sheet of words, as a page and as a PDF.

This needs the extra `dusangire[documents]`. Nothing of it is imported before somebody asks for it.
"""
