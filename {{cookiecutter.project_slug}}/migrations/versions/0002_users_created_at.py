"""Remember when a user was created.

The default makes this safe while the last release still inserts rows.
"""

# Goes with the examples.

import sqlalchemy as sa
from alembic import op

revision = "0002_users_created_at"
down_revision = "0001_users"


def upgrade() -> None:
    op.add_column(
        "users",
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
    )


def downgrade() -> None:
    op.drop_column("users", "created_at")
