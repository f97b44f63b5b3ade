"""Users, kept by the SQLAlchemy pool."""

# Goes with the examples.
