"""Raw values: parts of files, several of one item, and how they are loaded ahead of a model."""
