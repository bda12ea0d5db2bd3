"""Connect to SQLite or PostgreSQL, and bring the tables up to date."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from benchmark_data_tools.annotation.places.mounts import filesystem_of, takes_databases

_MIGRATIONS = Path(__file__).with_name("migrations")


class DatabaseError(ValueError):
    """A database cannot be used; the message says what to do."""


def connect(url: str) -> Engine:
    """Connect to a database and migrate it to this program's version.

    Args:
        url: SQLAlchemy URL, as `sqlite:///path/store.db` or `postgresql://user@host/name`.

    Returns:
        Engine, whose tables are up to date.

    Raises:
        DatabaseError: The URL is of another kind, cannot be reached, lies where SQLite is not
            safe, or the database was written by a newer program.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseError(
            f"database must be a URL, got {url!r}: write sqlite:///FILE or postgresql://..."
        ) from error
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.get_backend_name() != "sqlite":
        raise DatabaseError(
            f"database must be SQLite or PostgreSQL, got {parsed.get_backend_name()}: "
            "write sqlite:///FILE or postgresql://..."
        )
    if parsed.get_backend_name() == "sqlite" and not takes_databases(Path(parsed.database or ".")):
        raise DatabaseError(
            f"database must lie on a disk of this machine, got {parsed.database} on a file system "
            f"of the type {filesystem_of(Path(parsed.database or '.'))}, where it could be damaged "
            "or lost: name a place on a disk, as --database sqlite:////PLACE/store.db, or work "
            "on a disk and keep a copy there by --copy-to"
        )
    engine = create_engine(parsed, pool_pre_ping=True)
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    try:
        with engine.execution_options(writes=True, migrates=True).begin() as connection:
            _migrate(connection)
        engine.dispose()  # with the connection that does not check foreign keys
    except DBAPIError as error:
        shown = parsed.render_as_string(hide_password=True)
        raise DatabaseError(
            f"database must be reachable and writable, got {error.orig} from {shown}: "
            "check the server, the path and their permissions"
        ) from error
    return engine


def writing(engine: Engine) -> Engine:
    """Return the engine for transactions that write.

    SQLite takes its write lock at their beginning: a transaction that read first and locks later
    would fail, as another may have written in between.
    """
    return engine.execution_options(writes=True)


def _configure_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  # a DBAPI's own
    # The driver would begin transactions by itself, too late for `_begin_sqlite`.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # a commit that was acknowledged survives a power cut
        "foreign_keys=ON",
        "busy_timeout=20000",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("migrates", False):
        # SQLite changes a table by making it anew, to which others refer meanwhile.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in known:
        raise DatabaseError(
            f"database must be of version {script.get_current_head()} or older, got {present}: "
            "it was written by a newer program, update this one"
        )
    if present != script.get_current_head():
        command.upgrade(config, "head")
