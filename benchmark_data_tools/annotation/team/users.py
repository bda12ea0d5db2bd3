"""Names, roles and logins: a users file with scrypt hashes, and signed session cookies."""

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from secrets import token_bytes
from typing import NotRequired, TypedDict
from urllib.parse import quote, unquote

from benchmark_data_tools.annotation.storage.dataset import FOLDER
from benchmark_data_tools.annotation.storage.masks import write_atomically
from benchmark_data_tools.annotation.storage.people import ROLES, Role, User

SESSION_SECONDS = 7 * 24 * 3600
SHORTEST_PASSWORD = 10
# 2^15 blocks of 8 * 128 bytes: 32 MiB and about a tenth of a second a login.
_WRITING = threading.Lock()
_SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26, "dklen": 32}


class _Record(TypedDict):
    role: Role
    scrypt: str | None  # "salt:digest"; None for people who log in with Hugging Face
    logins: NotRequired[int]  # goes up as the user logs out, and is part of what a cookie proves


class UserError(ValueError):
    """A user or a password is refused; the message says what to do."""


class Users:
    """The users file, `annotation/users.json`, read anew at each use.

    Args:
        folder: The dataset's folder.
        clock: Tells seconds since 1970.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / FOLDER / "users.json"
        self._secret_path = folder / FOLDER / "session.key"
        self._clock = clock

    @property
    def configured(self) -> bool:
        """Whether there are users, so that everyone must log in."""
        return self._path.is_file()

    def all(self) -> list[User]:
        """Return all users in order of name."""
        return [User(name, record["role"]) for name, record in sorted(self._read().items())]

    def put(self, name: str, role: Role, password: str | None) -> User:
        """Add a user or change role and password.

        Args:
            name: 1 to 64 letters, digits, dots, dashes or underscores.
            role: What they may do.
            password: None for people who log in with Hugging Face under this name.

        Raises:
            UserError: Name, role or password is refused, or there would be no admin.
        """
        if not re.fullmatch(r"[\w.-]{1,64}", name):
            raise UserError(
                f"name must be 1 to 64 letters, digits, dots or dashes, got {name!r}: change it"
            )
        if role not in ROLES:
            raise UserError(f"role must be one of {', '.join(ROLES)}, got {role!r}: choose one")
        if password is not None and len(password) < SHORTEST_PASSWORD:
            raise UserError(
                f"password must have {SHORTEST_PASSWORD} characters or more, got "
                f"{len(password)}: take a longer one"
            )
        records = self._read()
        records[name] = {"role": role, "scrypt": None if password is None else _hash(password)}
        if not any(record["role"] == "admin" for record in records.values()):
            raise UserError(
                f"first user must be an admin, got {role}: add one with --role admin before others"
            )
        self._write(records)
        return User(name, role)

    def remove(self, name: str) -> None:
        """Remove a user; what they did stays."""
        records = self._read()
        if name not in records:
            raise UserError(f"name must be a user's, got {name!r}: see the list command")
        del records[name]
        if records and not any(record["role"] == "admin" for record in records.values()):
            raise UserError(f"one admin must stay, got the removal of {name}: add another first")
        if not records:
            raise UserError(
                f"one user must stay, got the removal of {name}: delete {self._path.name} to work "
                "without users"
            )
        self._write(records)

    def check_password(self, name: str, password: str) -> User | None:
        """Return the user whose password this is; None for any other."""
        record = self._read().get(name)
        stored = record["scrypt"] if record else None
        # A made-up name costs the same time as a known one.
        matches = _matches(password, stored or _NOBODY)
        return User(name, record["role"]) if record and stored and matches else None

    def by_name(self, name: str) -> User | None:
        """Return a user; None where there is none of this name."""
        record = self._read().get(name)
        return None if record is None else User(name, record["role"])

    def by_hugging_face(self, name: str) -> User | None:
        """Return the user who logs in with Hugging Face under this name.

        Users with a password are others: on the Hub anybody may have taken their name.
        """
        record = self._read().get(name)
        return User(name, record["role"]) if record and record["scrypt"] is None else None

    def sign(self, name: str) -> str:
        """Return a cookie that proves a login.

        It does until it expires, the password or the role changes, or the user logs out.
        """
        expires = str(int(self._clock()) + SESSION_SECONDS)
        # Headers hold no letters beyond Latin-1.
        return f"{quote(name)}|{expires}|{self._signature(name, expires)}"

    def log_out(self, name: str) -> None:
        """End all logins of a user."""
        with _WRITING:
            records = self._read()
            if name in records:
                records[name]["logins"] = records[name].get("logins", 0) + 1
                self._write(records)

    def signed_in(self, cookie: str) -> User | None:
        """Return the user whose cookie this is; None where it is none of ours, or expired."""
        parts = cookie.split("|")
        if len(parts) != 3 or not parts[1].isdecimal():
            return None
        quoted, expires, signature = parts
        name = unquote(quoted)
        user = self.by_name(name)
        if user is None or int(expires) < self._clock():
            return None
        good = hmac.compare_digest(signature.encode(), self._signature(name, expires).encode())
        return user if good else None

    def _signature(self, name: str, expires: str) -> str:
        if not self._secret_path.is_file():
            write_atomically(self._secret_path, token_bytes(32))
            self._secret_path.chmod(0o600)
        record = json.dumps(self._read().get(name), sort_keys=True)
        message = f"{name}|{expires}|{record}".encode()
        return hmac.new(self._secret_path.read_bytes(), message, hashlib.sha256).hexdigest()

    def _read(self) -> dict[str, _Record]:
        if not self._path.is_file():
            return {}
        records: dict[str, _Record] = json.loads(self._path.read_text("utf-8"))
        return records

    def _write(self, records: dict[str, _Record]) -> None:
        write_atomically(self._path, json.dumps(records, indent=2).encode())
        self._path.chmod(0o600)


def _hash(password: str) -> str:
    salt = token_bytes(16)
    return f"{salt.hex()}:{_scrypt(password, salt).hex()}"


def _matches(password: str, stored: str) -> bool:
    salt, digest = (bytes.fromhex(part) for part in stored.split(":"))
    return hmac.compare_digest(_scrypt(password, salt), digest)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT)


_NOBODY = f"{'00' * 16}:{'00' * 32}"
