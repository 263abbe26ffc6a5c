"""What we tell merchants: their endpoints, and each delivery until it arrived."""
