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
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from sqlalchemy import select

from benchmark_data_tools.annotation import agreement, durability, queue
from benchmark_data_tools.annotation.dataset import DEFAULT_PATTERN
from benchmark_data_tools.annotation.exchange import (
    EXPORTS,
    IMPORTS,
    export,
    import_masks,
    statistics,
)
from benchmark_data_tools.annotation.proposals import Layers, NetworkProposer, Proposer
from benchmark_data_tools.annotation.server import Service, create_app
from benchmark_data_tools.annotation.store import FINISHED, Store, StoreError
from benchmark_data_tools.annotation.tables import STATES, Image
from benchmark_data_tools.annotation.users import ROLES, Users
from benchmark_data_tools.annotation.verify import verify

if TYPE_CHECKING:
    # argparse gives its class for subcommands no public name.
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

PORT = 7870
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
    starting.add_argument("--pattern", default=DEFAULT_PATTERN, help="of finished detail maps")
    starting.set_defaults(command=_init)

    serving = add("annotate", "open the annotation page")
    serving.add_argument("--host", default="127.0.0.1")
    serving.add_argument("--port", type=int, default=PORT)
    serving.add_argument("--hub-dataset", help="USER/NAME: keep the work in this Hub dataset")
    serving.add_argument("--weights", help="the matting network's, for proposals")
    serving.add_argument("--category", default="person", help="what is labelled")
    serving.set_defaults(command=_annotate)

    proposing = add("propose", "compute guidance and alpha of all images ahead")
    proposing.add_argument("--weights")
    proposing.add_argument("--category", default="person")
    proposing.set_defaults(command=_propose)

    people = add("users", "list, add, change or remove users")
    people.add_argument("action", choices=("list", "add", "remove"))
    people.add_argument("name", nargs="?")
    people.add_argument("--role", choices=ROLES, default="annotator")
    people.add_argument(
        "--hugging-face", action="store_true", help="no password: they log in with Hugging Face"
    )
    people.set_defaults(command=_users)

    second = add("second-pass", "choose images for a blind second pass")
    second.add_argument("percent", type=float)
    second.add_argument("--seed", type=int, default=0)
    second.set_defaults(command=_second_pass)

    writing = add("export", "write finished masks for others")
    writing.add_argument("out", type=Path)
    writing.add_argument("--kind", choices=EXPORTS, default="benchmark")
    writing.add_argument("--states", nargs="+", choices=STATES, default=list(FINISHED))
    writing.add_argument("--soft", action="store_true", help="keep soft edges")
    writing.set_defaults(command=_export)

    taking = add("import", "take in masks that were made elsewhere")
    taking.add_argument("source", type=Path, help="folder or JSON file")
    taking.add_argument("--kind", choices=IMPORTS, default="png")
    taking.add_argument("--author", default="import")
    taking.set_defaults(command=_import)

    add("stats", "print progress, time and rates").set_defaults(command=_stats)
    add("agreement", "print agreement of blind passes as CSV").set_defaults(command=_agreement)
    checking = add("verify", "compare files and database")
    checking.add_argument("--repair", action="store_true", help="while nobody works on it")
    checking.set_defaults(command=_verify)


def build_service(
    folder: Path,
    *,
    database: str | None = None,
    hub_dataset: str | None = None,
    proposer: Proposer | None = None,
) -> Service:
    """Open a dataset for `server.create_app`, for the page alone or beside the demo.

    Args:
        folder: The dataset's folder, after `init`.
        database: URL; None for SQLite in the folder.
        hub_dataset: Hub dataset that keeps the work, already restored.
        proposer: Makes proposals; None for the bundled networks.

    Returns:
        The service.

    Raises:
        StoreError: The folder is no dataset.
    """
    store = Store.open(folder, database=database)
    return Service(
        store,
        Layers(folder, proposer or NetworkProposer()),
        Users(folder),
        storage=durability.warning(folder, hub_dataset=hub_dataset),
        # A Space with `hf_oauth: true` is told its client's id.
        hugging_face="OAUTH_CLIENT_ID" in os.environ,
    )


def _init(options: argparse.Namespace) -> int:
    store, found = Store.create(options.dataset, pattern=options.pattern, database=options.database)
    for problem in found.problems:
        print(problem)
    print(f"{len(found.pictures)} images in {store.folder}, {len(found.problems)} remarks.")
    return 0


def _annotate(options: argparse.Namespace) -> int:
    folder = durability.safe_folder(options.dataset)
    users = Users(folder)
    if options.host not in ("127.0.0.1", "localhost", "::1") and not users.configured:
        raise StoreError(
            f"host must be 127.0.0.1 while no users are configured, got {options.host}: run "
            f"`python -m benchmark_data_tools users {folder} add NAME --role admin` first"
        )
    copy = None
    if options.hub_dataset:
        if options.database:
            raise StoreError(
                "database must be the dataset's own SQLite with --hub-dataset, got a URL: "
                "a server keeps itself, leave one of the two out"
            )
        durability.restore_from_hub(folder, options.hub_dataset)
    proposer = NetworkProposer(options.weights, options.category)
    service = build_service(
        folder, database=options.database, hub_dataset=options.hub_dataset, proposer=proposer
    )
    if options.hub_dataset:
        copy = durability.HubCopy(folder, options.hub_dataset)
    print(f"http://{options.host}:{options.port}/", flush=True)
    try:
        uvicorn.run(create_app(service), host=options.host, port=options.port, log_level="warning")
    finally:
        if copy is not None:
            copy.stop()
            copy.push_to_hub()
    return 0


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
        asked = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        password = asked
    users.put(options.name, options.role, password)
    return 0


def _second_pass(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    print(f"{queue.add_second_pass(store, options.percent, options.seed)} images have two passes.")
    return 0


def _export(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    count = export(store, options.out, options.kind, states=options.states, soft=options.soft)
    print(f"{count} masks in {options.out}")
    return 0


def _import(options: argparse.Namespace) -> int:
    store = Store.open(options.dataset, database=options.database)
    done = import_masks(store, options.source, options.kind, author=options.author)
    for problem in done.problems:
        print(problem)
    print(f"{len(done.taken)} taken, {len(done.problems)} not.")
    return 1 if done.problems else 0


def _stats(options: argparse.Namespace) -> int:
    print(statistics(Store.open(options.dataset, database=options.database)))
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
    print(f"{len(problems)} problems{', repaired' if options.repair and problems else ''}.")
    return 1 if problems and not options.repair else 0
