"""Verbs that look after an index or a model: what is in it, what comes and goes, its room."""
