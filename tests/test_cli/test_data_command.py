"""`instructrec data`: the commands say what they did, in words or JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instructrec.cli.app import run

LOG = "uid,item_id,when\nu,a,2020-01-01\nu,b,2020-01-02\nu,c,2020-01-03\nu,zz,2020-01-04\n"
ITEMS = "item_id,title,shelf,kind\na,Alpha [red],x,y\nb,Beta,,y\nc,Gamma,x,\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text(ITEMS)
    return [
        *("data", "import", "--interactions", str(tmp_path / "log.csv")),
        *("--items", str(tmp_path / "items.csv"), "--out", str(tmp_path / "dataset")),
        *("--columns", "user_id=uid,timestamp=when,categories=shelf+kind"),
    ]


def test_import_says_what_came_in_and_what_did_not(
    files: list[str], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run([*files, "--max-rejected", "0.5"]) == 0
    out = capfd.readouterr().out
    assert "3 items, 3 interactions" in out
    assert "bad: 1 rows of interactions: item_id is not in the items" in out
    assert "rejected.jsonl" in out
    assert "interactions of log.csv: table, timestamp=when, user_id=uid" in out


def test_import_and_describe_give_json(
    files: list[str], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run([*files, "--max-rejected", "0.5", "--json"]) == 0
    done = json.loads(capfd.readouterr().out)
    assert done["rows"]["interactions"] == 3
    assert done["bad"] == {"interactions": {"item_id is not in the items": 1}}
    assert done["files"]["items"]["columns"]["categories"] == "shelf+kind"
    described = tmp_path / "described"
    assert run(["data", "describe", done["dataset"], "--out", str(described), "--json"]) == 0
    figures = json.loads(capfd.readouterr().out)
    assert figures["counts"]["items"] == 3
    assert figures == json.loads((described / "description.json").read_text())


def test_describe_shows_a_table_and_what_is_missing(
    files: list[str], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run([*files, "--max-rejected", "0.5"])
    capfd.readouterr()
    assert run(["data", "describe", str(tmp_path / "dataset")]) == 0
    out = capfd.readouterr().out
    assert "interactions a user" in out
    assert "no reviews: no vague intentions (I1, I1*)" in out


@pytest.mark.parametrize(
    ("extra", "code", "said"),
    [
        ([], 1, "1 of 4 rows of"),
        (["--clock", "sundial"], 2, "'sundial' is not a clock. Use one of ms, order"),
        (["--format", "excel"], 2, "'excel' is not a format"),
        (["--repeats", "some"], 2, "is not a way with repeats"),
        (["--columns", "user_id"], 2, "does not say OURS=THEIRS"),
        (["--columns", "user_id=uid,timestamp=at"], 2, "no column timestamp (nor at)"),
        (["--columns", "user_id=uid,timestamp=when,brand=at"], 2, "'at', which no file has"),
        (["--items", "nowhere.csv"], 2, "there is no file nowhere.csv"),
    ],
)
def test_what_is_wrong_is_one_line(
    files: list[str], capfd: pytest.CaptureFixture[str], extra: list[str], code: int, said: str
) -> None:
    assert run([*files, *extra]) == code
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_market_makes_a_dataset(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    args = ["--users", "30", "--items", "60", "--seed", "1", "--out", str(tmp_path / "shop")]
    assert run(["data", "market", *args, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"]["items"] == 60
