"""Whether the servers have room for all connections that the pools may open."""
