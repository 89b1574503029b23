"""The models that every table is printed beside."""
