"""One module a kind of pool; none knows a route, an exporter or another kind."""
