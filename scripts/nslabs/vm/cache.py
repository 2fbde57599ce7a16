"""The cache: kernels and images, under the XDG cache folder."""

from __future__ import annotations

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
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)
    except OSError as error:
        raise UserError(
            f"cannot write {target}: {errno_text(error)}; "
            "free some space, or set XDG_CACHE_HOME",
            BROKEN,
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
