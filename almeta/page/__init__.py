"""A page in the browser on which a person labels rows, or answers the requests of a stream's agent."""
