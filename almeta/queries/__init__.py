"""Rows of one's own: which to label next, why, and when to stop."""

from almeta.queries.labelling import Labelling, Questions
from almeta.queries.query import query

__all__ = ["Labelling", "Questions", "query"]
