"""A base of several shops: their catalogs and logs side by side, items by content alone."""
