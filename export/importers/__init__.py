"""Importers: a trained model's files → `Graph` and `ModelSpec`."""
