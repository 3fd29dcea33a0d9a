"""Passes: graph in, graph out, one file each; each says how close the outputs stay."""
