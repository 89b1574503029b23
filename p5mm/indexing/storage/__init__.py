"""An index on disk: segments that are never changed, and a folder that is replaced at once."""
