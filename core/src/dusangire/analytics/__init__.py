"""What was earned, and how the gateways do, from sums that are kept."""
