"""Two files of one network, layer by layer: what the second lost, where, and why."""
