"""Labels, sightings, pins and preferences; when a lease was taken.

Leases of the older version end: they do not say when they began.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
# What unnamed constraints of the first version are called while the table is made anew.
_NAMES = {"uq": "uq_%(table_name)s_%(column_0_name)s"}


def upgrade() -> None:
    """Add what the second version needs; all entries are of the label "detail"."""
    labels = op.create_table(
        "label",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
    )
    pattern = (
        op.get_bind()
        .execute(sa.text("SELECT value FROM setting WHERE name = 'pattern'"))
        .scalar_one_or_none()
    )
    if pattern is not None:
        op.bulk_insert(labels, [{"name": "detail", "kind": "mask", "pattern": pattern}])
    sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("entry", naming_convention=_NAMES) as batch:
        batch.add_column(sa.Column("label", sa.String(64), nullable=False, server_default="detail"))
        batch.drop_constraint(
            "uq_entry_image_id" if sqlite else "entry_image_id_blind_pass_key", type_="unique"
        )
        batch.create_unique_constraint("uq_entry_place", ["image_id", "label", "blind_pass"])
        batch.create_foreign_key("fk_entry_label", "label", ["label"], ["name"])
    with op.batch_alter_table("entry") as batch:
        batch.alter_column("label", server_default=None)
    op.drop_table("lease")
    op.create_table(
        "lease",
        sa.Column("entry_id", sa.Integer(), sa.ForeignKey("entry.id"), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("taken_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "sighting",
        sa.Column("entry_id", sa.Integer(), sa.ForeignKey("entry.id"), primary_key=True),
        sa.Column("person", sa.String(64), primary_key=True),
    )
    op.create_table(
        "pin",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("entry_id", sa.Integer(), sa.ForeignKey("entry.id"), nullable=False, index=True),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("settled_by", sa.String(64)),
    )
    op.create_table(
        "preference",
        sa.Column("person", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )
