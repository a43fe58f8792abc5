"""A small HTTP/1.1 client for destinations and for `send`. Knows no destination; swappable as a whole."""
