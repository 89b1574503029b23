"""The demonstration on embedded data: a sticker shop with simulated shoppers."""
