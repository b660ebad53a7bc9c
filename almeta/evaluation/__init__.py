"""How policies are judged: measures of recorded episodes, intervals, tables, figures, published numbers."""
