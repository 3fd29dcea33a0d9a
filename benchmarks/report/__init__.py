"""Results for people: one HTML page that needs nothing else, or Markdown with pictures."""
