"""Users, kept by the SQLAlchemy pool."""
