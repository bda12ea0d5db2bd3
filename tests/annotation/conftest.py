import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from annotation_samples import make_dataset

from benchmark_data_tools.annotation.storage.store import Store

BINARIES = Path("/usr/lib/postgresql")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
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
    options = f"-c listen_addresses='' -k {data} -p 5499"
    call("pg_ctl", "-D", str(data / "db"), "-o", options, "-l", str(data / "log"), "-w", "start")
    try:
        yield (
            f"postgresql://mgm@/%s?host={data}&port=5499",
            lambda name: call("createdb", "-h", str(data), "-p", "5499", "-U", "mgm", name),
        )
    finally:
        call("pg_ctl", "-D", str(data / "db"), "-m", "immediate", "stop")
        shutil.rmtree(data)


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


@pytest.fixture
def store(dataset):
    made = Store.create(dataset)[0]
    yield made
    made.engine.dispose()
