"""The cache: kernels and images, under the XDG cache folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BROKEN, UserError, errno_text


def folder(*parts: str) -> Path:
    """A folder of the cache, made if need be (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(
        os.environ.get("HOME") or "/var/tmp", ".cache"
    )
    path = Path(base, "nslabs", *parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the cache {path}: {errno_text(error)}; "
            "set XDG_CACHE_HOME to a folder that can be written",
            BROKEN,
        ) from None
    return path


@contextmanager
def growing(target: Path) -> Iterator[Path]:
    """A new folder that takes the target's place when all went well, or goes."""
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield fresh
            fresh.chmod(0o755)
            if target.exists():
                old = Path(tempfile.mkdtemp(prefix=fresh.name, dir=target.parent))
                target.rename(old / "old")
                fresh.rename(target)
                shutil.rmtree(old, ignore_errors=True)
            else:
                fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise unwritable(target, error) from None


def write(target: Path, data: bytes) -> None:
    """A file that is there as a whole or not at all."""
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as fresh:
            try:
                fresh.write(data)
                fresh.flush()
                os.replace(fresh.name, target)
            except BaseException:
                os.unlink(fresh.name)
                raise
    except OSError as error:
        raise unwritable(target, error) from None


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """One process at a time in here; the lock goes with the process that has it."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def unwritable(target: Path, error: OSError) -> UserError:
    """What to say, and what to do about it."""
    return UserError(
        f"cannot write {target}: {errno_text(error)}; "
        "free some space, or set XDG_CACHE_HOME to another folder",
        BROKEN,
    )
