"""Days are Rwanda's, wherever the server stands: books, statements and invoices count by them."""

from zoneinfo import ZoneInfo

KIGALI = ZoneInfo("Africa/Kigali")
