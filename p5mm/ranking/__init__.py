"""A trained model at work: candidates, their scores, items that nobody has taken yet."""
