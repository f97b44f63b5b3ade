"""What one would have instead: the floor, and the ways of well-known templates."""
