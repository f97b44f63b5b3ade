"""Count a user's visits."""

# Goes with the examples.

import sqlalchemy as sa
from alembic import op

revision = "0003_users_visits"
down_revision = "0002_users_created_at"


def upgrade() -> None:
    op.add_column("users", sa.Column("visits", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("users", "visits")
