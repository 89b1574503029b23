"""The product's face: fit, recommend, score, add items, save, load."""
