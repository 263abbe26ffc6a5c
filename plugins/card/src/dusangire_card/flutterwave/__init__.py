"""Flutterwave's hosted checkout, version 3: the only place that knows its words."""
