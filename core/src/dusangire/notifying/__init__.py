"""What we tell people: the notices, their words, and each message until it left."""
