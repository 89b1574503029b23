"""What a log and the content say of pairs of items, for who ranks."""
