"""The verbs that make and use a base: one file a verb."""
