"""Results for people: one HTML page that needs nothing else, or Markdown with pictures."""

from pathlib import Path

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
"""Of all pages that are read like a report."""
