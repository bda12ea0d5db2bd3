"""Subcommands of `python -m benchmark_data_tools` for annotation.

init DATASET                 take a folder's images in
annotate DATASET             open the page on http://127.0.0.1:7870
propose DATASET              compute all proposals ahead
users DATASET add NAME ...   names, roles and passwords
second-pass DATASET PERCENT  choose images for a blind second pass
export, import, stats, agreement, verify
"""

# ruff: noqa: T201  # a command prints its results

import argparse
import getpass
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from benchmark_data_tools.annotation.formats.exports import EXPORTS, export
from benchmark_data_tools.annotation.formats.imports import IMPORTS, import_masks
from benchmark_data_tools.annotation.server.proposals import (
    Layers,
    NetworkProposer,
    Proposer,
    Worker,
)
from benchmark_data_tools.annotation.storage.claim import DETAIL
from benchmark_data_tools.annotation.storage.dataset import DEFAULT_PATTERN
from benchmark_data_tools.annotation.storage.errors import StoreError
from benchmark_data_tools.annotation.storage.people import ROLES
from benchmark_data_tools.annotation.storage.store import FINISHED, Store
from benchmark_data_tools.annotation.storage.tables import LABEL_KINDS, STATES, Image, LabelKind
from benchmark_data_tools.annotation.storage.verify import verify
from benchmark_data_tools.annotation.team import agreement, passes, progress
from benchmark_data_tools.annotation.team.users import Users
from mgm_core.runtime.partial import clear_up
from mgm_core.weights import verify_bundled

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from benchmark_data_tools.annotation.server.service import Service

    # argparse gives its class for subcommands no public name.
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

PORT = 7870
_STOP_SECONDS = 20  # that running requests may take once the server is told to stop
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
DATABASE_VARIABLE = "MGM_ANNOTATION_DATABASE"


def add_subcommands(subparsers: "Subparsers") -> None:
    """Add annotation's commands; each sets `command`, a function from options to exit status."""

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = subparsers.add_parser(name, help=text)
        command.add_argument("dataset", type=Path, help="folder with image/, and alpha/ if any")
        command.add_argument(
            "--database",
            default=os.environ.get(DATABASE_VARIABLE),
            help=f"URL; default: SQLite in the dataset, or ${DATABASE_VARIABLE}",
        )
        return command

    starting = add("init", "take a folder's images in for annotation")
    starting.add_argument(
        "--pattern",
        help=f"of finished detail maps; default: what the dataset has, at first {DEFAULT_PATTERN}",
    )
    starting.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME[:KIND]",
        help=f"a label beside detail; repeatable; KIND is {', '.join(LABEL_KINDS)}; default: mask",
    )
    starting.set_defaults(command=_explain_refusals(_init))

    serving = add("annotate", "open the annotation page")
    serving.add_argument("--host", default="127.0.0.1")
    serving.add_argument("--port", type=int, default=PORT)
    serving.add_argument("--hub-dataset", help="USER/NAME: keep the work in this Hub dataset")
    serving.add_argument(
        "--copy-to",
        type=Path,
        metavar="FOLDER",
        help="keep a copy of the work in this folder, of a mounted bucket for instance",
    )
    serving.add_argument("--weights", help="the matting network's, for proposals")
    serving.add_argument("--category", default="person", help="what is labelled")
    serving.set_defaults(command=_explain_refusals(_annotate))

    proposing = add("propose", "compute guidance and alpha of all images ahead")
    proposing.add_argument("--weights")
    proposing.add_argument("--category", default="person")
    proposing.set_defaults(command=_explain_refusals(_propose))

    people = add("users", "list, add, change or remove users")
    people.add_argument("action", choices=("list", "add", "remove"))
    people.add_argument("name", nargs="?")
    people.add_argument(
        "--role", choices=ROLES, help="default: what the user is already, or annotator"
    )
    people.add_argument(
        "--hugging-face", action="store_true", help="no password: they log in with Hugging Face"
    )
    people.set_defaults(command=_explain_refusals(_users))

    second = add("second-pass", "choose images for a blind second pass")
    second.add_argument("percent", type=float)
    second.add_argument("--seed", type=int, default=0)
    second.add_argument("--label", default=DETAIL, help="which label is labelled twice")
    second.set_defaults(command=_explain_refusals(_second_pass))

    writing = add("export", "write finished masks for others")
    writing.add_argument("out", type=Path)
    writing.add_argument("--kind", choices=EXPORTS, default="benchmark")
    writing.add_argument("--states", nargs="+", choices=STATES, default=list(FINISHED))
    writing.add_argument("--labels", nargs="+", default=[DETAIL], help="default: detail")
    writing.add_argument("--alpha-label", help="benchmark: the label of finished mattes")
    writing.add_argument("--soft", action="store_true", help="keep soft edges, where the kind can")
    writing.add_argument(
        "--image-prefix",
        metavar="TEXT",
        help="coco, cvat, label_studio: what stands before an image's file name, such as train/",
    )
    writing.set_defaults(command=_explain_refusals(_export))

    taking = add("import", "take in masks that were made elsewhere")
    taking.add_argument("source", type=Path, help="folder, JSON, XML or ZIP")
    taking.add_argument("--kind", choices=IMPORTS, default="png")
    taking.add_argument("--author", default="import")
    taking.add_argument("--under", default=DETAIL, metavar="LABEL", help="what the masks are of")
    taking.add_argument(
        "--category",
        nargs="+",
        metavar="NAME",
        help="coco, cvat, label_studio, labelme: labels to take; default: the only one",
    )
    taking.add_argument(
        "--label", type=int, metavar="N", help="png: which of class maps' labels to take"
    )
    taking.set_defaults(command=_explain_refusals(_import))

    add("stats", "print progress, time and rates").set_defaults(command=_explain_refusals(_stats))
    add("agreement", "print agreement of blind passes as CSV").set_defaults(
        command=_explain_refusals(_agreement)
    )
    checking = add("verify", "compare files and database")
    checking.add_argument("--repair", action="store_true", help="while nobody works on it")
    checking.set_defaults(command=_explain_refusals(_verify))


def _explain_refusals(
    command: Callable[[argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """Turn what disk and database refuse into messages that say what to do."""

    def run(options: argparse.Namespace) -> int:
        try:
            return command(options)
        except OSError as error:
            raise StoreError(
                f"disk must take and give the files, got {error.strerror} for {error.filename}: "
                "free space, or correct the path and its permissions"
            ) from error
        except OperationalError as error:
            raise StoreError(
                f"database must be writable, got {error.orig}: free disk space or its lock"
            ) from error

    return run


@contextmanager
def open_service(
    folder: Path,
    *,
    host: str,
    database: str | None = None,
    hub_dataset: str | None = None,
    hub: "HfApi | None" = None,
    copy_to: Path | None = None,
    proposer: Proposer | None = None,
) -> "Iterator[Service]":
    """Open a dataset for `server.create_app`, for the page alone or beside the demo.

    Args:
        folder: The dataset's folder, after `init`.
        host: Address that the page is served on: without users, this machine's own alone.
        database: URL; None for SQLite in the folder.
        hub_dataset: Hub dataset, as USER/NAME, that the work is restored from and sent to.
        hub: The Hub; None for Hugging Face's.
        copy_to: Folder that the work is restored from and copied to; None on a Space for its
            bucket, if one is mounted at /data.
        proposer: Makes proposals; None for the bundled networks.

    Yields:
        The service; at the end the copy gets what is new.

    Raises:
        CheckpointError: A bundled weights file is missing or was changed.
        StoreError: The folder is no dataset, others could come without logging in, or the copy
            does not go with it.
        DatabaseError: The database cannot be used.
    """
    # Serving loads FastAPI and the Hub's client, which other commands do not need.
    from benchmark_data_tools.annotation.places import durability
    from benchmark_data_tools.annotation.places.folder_copy import FolderCopy, restore_from_folder
    from benchmark_data_tools.annotation.server.service import Service

    verify_bundled()
    disk = durability.SPACE_DISK
    folder = durability.safe_folder(folder, disk)
    users = Users(folder)
    if (host not in _THIS_MACHINE or durability.on_a_space()) and not users.configured:
        raise StoreError(
            f"users must be configured where others can come, got none for host {host}: run "
            f"`python -m benchmark_data_tools users {folder} add NAME --role admin` first"
        )
    if copy_to is None and not hub_dataset and not database:
        copy_to = durability.space_bucket(folder, disk)
    if (hub_dataset or copy_to) and database:
        raise StoreError(
            "database must be the dataset's own SQLite where a copy of the work is kept, got a "
            "URL: a database server keeps itself, leave one of the two out"
        )
    if hub_dataset and copy_to:
        raise StoreError("copy must be kept in one place, got a Hub dataset and a folder: name one")
    if hub_dataset:
        durability.restore_from_hub(folder, hub_dataset, hub)
    if copy_to:
        restore_from_folder(folder, copy_to)
    clear_up(folder, recursive=True)
    store = Store.open(folder, database=database)
    warning = durability.warning(folder, copied=bool(hub_dataset or copy_to), disk=disk)
    copy: durability.HubCopy | FolderCopy | None = None
    if hub_dataset:
        copy = durability.HubCopy(folder, hub_dataset, api=hub)
    elif copy_to:
        copy = FolderCopy(folder, copy_to)
    worker = Worker()
    try:
        with copy or nullcontext():
            yield Service(
                store,
                Layers(folder, proposer or NetworkProposer(), worker),
                users,
                storage=lambda: warning or (copy.problem if copy else ""),
                # A Space with `hf_oauth: true` gets its client's id.
                hugging_face="OAUTH_CLIENT_ID" in os.environ,
            )
    finally:
        worker.close()
        store.engine.dispose()


def _init(options: argparse.Namespace) -> int:
    store, found = Store.create(
        options.dataset,
        pattern=options.pattern,
        database=options.database,
        labels={
            name: cast("LabelKind", kind or "mask")
            for name, _, kind in (label.partition(":") for label in options.label)
        },
    )
    for problem in found.problems:
        print(problem)
    print(f"{len(found.pictures)} images in {store.folder}, {len(found.problems)} remarks.")
    return 0


def _annotate(options: argparse.Namespace) -> int:
    import uvicorn

    from benchmark_data_tools.annotation.places.durability import explain_hub_errors
    from benchmark_data_tools.annotation.server.app import create_app

    with (
        explain_hub_errors(),
        _ended_by_signals(),
        open_service(
            options.dataset,
            host=options.host,
            database=options.database,
            hub_dataset=options.hub_dataset,
            copy_to=options.copy_to,
            proposer=NetworkProposer(options.weights, options.category),
        ) as service,
    ):
        print(f"http://{options.host}:{options.port}/", flush=True)
        uvicorn.run(
            create_app(service),
            host=options.host,
            port=options.port,
            log_level="warning",
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    return 0


@contextmanager
def _ended_by_signals() -> "Iterator[None]":
    """End the program from within, so that what it has open is closed.

    Uvicorn ends running requests, then repeats the signal, which else would end the program before
    the Hub has what is new, and leave the networks' process behind.
    """

    def end(*_: object) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _propose(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    layers = Layers(options.dataset, NetworkProposer(options.weights, options.category))
    with store.reading() as session:
        images = list(session.scalars(select(Image).order_by(Image.name)))
    for number, image in enumerate(images, 1):
        layers.png(image, "network_alpha")
        print(f"{number}/{len(images)} {image.name}", flush=True)
    return 0


def _users(options: argparse.Namespace) -> int:
    Store.open(options.dataset, database=options.database)
    users = Users(options.dataset)
    if options.action == "list":
        for user in users.all():
            print(f"{user.name}\t{user.role}")
        return 0
    if options.name is None:
        raise StoreError(f"name must be given to {options.action}, got none: name the user")
    if options.action == "remove":
        users.remove(options.name)
        return 0
    password = None
    if not options.hugging_face:
        # From a terminal it is not shown; from a pipe it is the first line.
        password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    known = users.by_name(options.name)
    users.put(options.name, options.role or (known.role if known else "annotator"), password)
    return 0


def _second_pass(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    count = passes.add_second_pass(store, options.percent, options.seed, options.label)
    print(f"{count} images have two passes.")
    return 0


def _export(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    done = export(
        store,
        options.out,
        options.kind,
        states=options.states,
        soft=options.soft,
        labels=options.labels,
        alpha_label=options.alpha_label,
        image_prefix=options.image_prefix,
    )
    for sentence in done.left_out:
        print(sentence)
    print(f"{done.masks} masks in {options.out}, {len(done.left_out)} left out.")
    return 0


def _import(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    done = import_masks(
        store,
        options.source,
        options.kind,
        author=options.author,
        categories=options.category,
        label=options.label,
        under=options.under,
    )
    for problem in done.problems:
        print(problem)
    print(f"{len(done.taken)} taken, {len(done.problems)} not.")
    return 1 if done.problems else 0


def _stats(options: argparse.Namespace) -> int:
    print(progress.statistics(Store.open(options.dataset, database=options.database)))
    return 0


def _agreement(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    print(agreement.to_csv(agreement.pairs(store)), end="")
    return 0


def _verify(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    problems = verify(store, repair=options.repair)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems.")
    if options.repair and problems:
        problems = verify(store)
        for problem in problems:
            print(f"not repaired: {problem}")
        print(f"{len(problems)} problems are left after the repair.")
    return 1 if problems else 0
