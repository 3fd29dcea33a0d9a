"""Pages for browsers: who may look, connections that cannot hurt, a server in a thread."""
