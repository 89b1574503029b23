"""Presets: one YAML a data set."""
