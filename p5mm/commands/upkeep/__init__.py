"""Verbs that look after an index: what is in it, what leaves it, its room on the disk."""
