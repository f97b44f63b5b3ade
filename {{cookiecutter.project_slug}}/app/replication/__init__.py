"""Reading one's own writes, although reads go to a replica."""
