"""Catalogs and logs: tables from outside, checked at the edge, and histories in integers."""
