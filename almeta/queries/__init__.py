"""Which rows of one's own to label next, and when to stop."""
