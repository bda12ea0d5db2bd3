import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from annotation_samples import make_dataset

from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.store import Store
from benchmark_data_tools.annotation.team import users

BINARIES = Path("/usr/lib/postgresql")


@dataclass
class PostgresServer:
    """A server whose databases have addresses of this pattern; it can be stopped and started."""

    url: str
    create: Callable[[str], None]
    stop: Callable[[], None]
    start: Callable[[], None]


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL server of our own, from Debian's package."""
    found = sorted(BINARIES.glob("*/bin/initdb"))
    if not found:
        message = "needs Debian's postgresql package: apt-get install postgresql"
        if os.environ.get("MGM_REQUIRE_POSTGRES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    binaries, data = found[-1].parent, Path(f"/tmp/mgm-postgres-{os.getpid()}")
    # PostgreSQL refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data.mkdir()
    if as_user:
        shutil.chown(data, "postgres")

    def call(program, *arguments):
        command = [*as_user, str(binaries / program), *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    call("initdb", "-D", str(data / "db"), "-U", "mgm", "-A", "trust", "--no-sync")
    # The machine itself goes on: nothing need wait for its disk.
    options = f"-c listen_addresses='' -c fsync=off -k {data} -p 5499"
    control = ("pg_ctl", "-D", str(data / "db"))

    def start():
        call(*control, "-o", options, "-l", str(data / "log"), "-w", "start")

    def stop():
        call(*control, "-m", "immediate", "stop")

    start()
    try:
        yield PostgresServer(
            f"postgresql://mgm@/%s?host={data}&port=5499",
            lambda name: call("createdb", "-h", str(data), "-p", "5499", "-U", "mgm", name),
            stop,
            start,
        )
    finally:
        stop()
        shutil.rmtree(data)


@pytest.fixture(scope="session")
def postgres(postgres_server):
    """Addresses of databases on that server, and what makes one."""
    return postgres_server.url, postgres_server.create


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'elsewhere.db'}"
    template, create = request.getfixturevalue("postgres")
    name = f"store_{time.time_ns()}"
    create(name)
    return template % name


@pytest.fixture
def any_store(dataset, url):
    made = Store.create(dataset, database=url)[0]
    yield made
    made.engine.dispose()


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "portraits")


@pytest.fixture(scope="session")
def annotation_folder(tmp_path_factory):
    """What a store of `dataset` begins with; to migrate a database takes a tenth of a second."""
    folder = make_dataset(tmp_path_factory.mktemp("made") / "portraits")
    Store.create(folder)[0].engine.dispose()
    return folder / FOLDER


@pytest.fixture
def store(dataset, annotation_folder):
    shutil.copytree(annotation_folder, dataset / FOLDER)
    made = Store.open(dataset)
    yield made
    made.engine.dispose()


@pytest.fixture
def quick_passwords(monkeypatch):
    """Hash passwords in no time, where no other process checks them."""
    monkeypatch.setitem(users._SCRYPT, "n", 2)
