"""The room for latency, energy, results and reports; nothing lives here yet but the scripts beside it."""
