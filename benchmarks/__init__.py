"""Latency, memory, results, reports: models measured side by side, by rules that are written down."""
