"""Rows of one's own: which to label next, why, and when to stop."""
