"""Items with JSON values, kept by the raw asyncpg pool."""

# Goes with the examples.
