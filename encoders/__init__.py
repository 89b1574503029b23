"""One modality in, one vector an item out; the store that keeps every vector once."""
