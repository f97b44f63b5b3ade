"""Join the histories of users and items, so that there is one head again."""

# Goes with the examples.

revision = "0004_users_and_items"
down_revision = ("0003_users_visits", "0001_items")


def upgrade() -> None:
    """Nothing changes: both tables are there."""


def downgrade() -> None:
    """Nothing changes."""
