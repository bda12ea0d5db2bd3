"""Whether an assignee took the entry by opening it.

Of older assignments nothing tells, so they stay.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; what is assigned counts as a reviewer's assignment."""
    with op.batch_alter_table("entry") as batch:
        batch.add_column(
            sa.Column("taken", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("entry") as batch:
        batch.alter_column("taken", server_default=None)
