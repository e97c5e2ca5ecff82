"""Can training and testing work here? Starts with nothing but the standard library."""
