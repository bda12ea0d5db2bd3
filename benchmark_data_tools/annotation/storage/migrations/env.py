"""Run migrations on the connection that `database.connect` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
