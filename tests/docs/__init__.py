"""README.md and docs/: their commands, links and pages."""
