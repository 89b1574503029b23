"""Vectors to soft tokens: mixing modalities and the id residual."""
