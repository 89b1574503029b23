"""A trained model looked after: items come and go, users take more, and what became of it."""
