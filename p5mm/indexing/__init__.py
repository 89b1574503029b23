"""A catalog encoded and searched by text, by picture and by item."""
