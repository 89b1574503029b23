"""Item vectors, FAISS, candidates, item codes."""
