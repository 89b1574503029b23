"""A trained model at work: candidates, their scores, what it writes; and a first day."""
