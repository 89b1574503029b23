"""Tar shards in webdataset's form: `KEY.jpg`, `KEY.txt`, `KEY.json` are what an item has."""
