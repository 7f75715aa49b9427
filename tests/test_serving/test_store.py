"""The store keeps what it has answered for, forgets who is erased, and tells nobody's secret."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from instructrec.serving.store import Event, Store, StoreError
from instructrec.serving.store.keys import opened
from instructrec.serving.store.store import now_ms
from instructrec.serving.store.tables import metadata


def event(key: str, user: str = "ann", item: str = "g1", kind: str = "view", at: int = 1) -> Event:
    return Event(key, user, item, kind, at)


def test_the_migrations_make_exactly_the_tables_the_code_uses(store):
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_of_a_later_version_is_refused_in_one_line(store, database):
    with store.engine.connect().execution_options(writing=True) as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="later version"):
        Store(database)


def test_events_sent_twice_are_kept_once(store):
    first = store.add_events([event("a"), event("b"), event("a", item="g9")])
    assert (first.accepted, first.repeated) == (("a", "b"), ())
    again = store.add_events([event("b", item="g7"), event("c")])
    assert (again.accepted, again.repeated) == (("c",), ("b",))
    assert [row["item_id"] for row in store.export("ann")["events"]] == ["g1", "g1", "g1"]


def test_many_threads_that_send_the_same_events_leave_each_once(store):
    accepted: list[str] = []
    batch = [event(f"k{number}") for number in range(50)]

    def send() -> None:
        for start in range(0, 50, 5):
            accepted.extend(store.add_events(batch[start : start + 5]).accepted)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(accepted) == sorted(one.key for one in batch)
    assert len(store.export("ann")["events"]) == 50


def test_a_batch_larger_than_one_statement_is_written_whole(store):
    batch = [event(f"k{number}", user=f"u{number}") for number in range(1234)]
    assert len(store.add_events(batch).accepted) == 1234
    assert store.add_events(batch).repeated == tuple(one.key for one in batch)


def test_what_was_taken_comes_in_order_of_time_without_what_is_disliked(store):
    store.add_events(
        [
            event("1", item="late", at=30),
            event("2", item="early", at=10),
            event("3", item="early", kind="purchase", at=20),
            event("4", item="bad", at=5),
            event("5", item="bad", kind="dislike", at=6),
            event("6", item="forgiven", kind="dislike", at=7),
            event("7", item="forgiven", kind="like", at=8),
        ]
    )
    taken = store.taken("ann")
    assert taken.item_ids == ("forgiven", "early", "late")
    assert taken.disliked == {"bad"}
    assert store.taken("nobody").item_ids == ()


def test_items_keep_the_columns_that_are_not_told_anew(store, open_store):
    store.put_items([{"item_id": "e1", "title": "Comet", "price": 9.0}])
    store.put_items([{"item_id": "e1", "price": 8.0}, {"item_id": "a1", "in_stock": False}])
    assert open_store().items() == [
        {"item_id": "a1", "in_stock": False},
        {"item_id": "e1", "title": "Comet", "price": 8.0},
    ]


def test_who_is_erased_is_gone_and_does_not_come_back(store, open_store):
    store.add_events([event("1"), event("2", user="bob")])
    assert store.erase("ann") == {"events": 1, "sessions": 0, "users": 1}
    assert store.export("ann") is None
    assert store.taken("ann").is_erased
    written = open_store().add_events([event("3"), event("4", user="bob")])
    assert (written.accepted, written.refused) == (("4",), ("3",))
    assert store.export("ann") is None
    assert store.erase("ann") == {"events": 0, "sessions": 0, "users": 0}


def test_what_is_erased_is_not_in_the_file_any_more(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    name = "somebody-with-a-telling-name"
    store.add_events([event(f"{number}", user=name) for number in range(200)])
    store.erase(name)
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    store.close()
    assert name.encode() not in left


def test_a_key_opens_what_it_was_made_for_until_it_expires(store):
    now = now_ms()
    admin, events = store.add_key("ops", "admin"), store.add_key("shop", "events", now + 60_000)
    old = store.add_key("past", "admin", now - 1)
    assert [store.kind_of(key) for key in (admin, events, old)] == ["admin", "events", None]
    listed = store.keys()
    assert {row["name"] for row in listed} == {"ops", "shop", "past"}
    assert not any("digest" in row for row in listed)
    assert store.remove_key(admin.split("_")[1])
    assert store.kind_of(admin) is None
    assert not store.remove_key("nothing")


@pytest.mark.parametrize("wrong", ["", "ir", "ir_", "ir__", "xx_1_2", "ir_abc_def", "ir_%_é", "_"])
def test_what_is_no_key_opens_nothing(store, wrong):
    assert store.kind_of(wrong) is None


def test_a_key_with_a_wrong_secret_opens_nothing_and_no_secret_is_kept(store):
    key = store.add_key("ops", "admin")
    assert store.kind_of(key + "x") is None
    assert store.kind_of(key[:-1]) is None
    with store.engine.connect() as connection:
        rows = str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert key.split("_", 2)[2] not in rows


def test_a_key_without_a_row_is_compared_all_the_same():
    assert opened("secret", None, 0) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "no URL"),
        ("mysql://root@localhost/shop", "no database that is known"),
        ("sqlite://", "needs a file"),
        ("postgresql+psycopg://me:hush@127.0.0.1:1/shop", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_is_refused_without_its_password(url, said):
    with pytest.raises(StoreError, match=said) as raised:
        Store(url)
    assert "hush" not in str(raised.value)


WRITER = """
import sys
from instructrec.serving.store import Event, Store
store = Store(sys.argv[1])
for number in range(10**6):
    key = f"{sys.argv[2]}-{number}"
    store.add_events([Event(key, "ann", "g1", "view", number)])
    print(key, flush=True)
"""


def test_every_event_that_was_answered_for_survives_kill_9(database, tmp_path: Path):
    Store(database).close()
    answered: list[str] = []
    for turn in range(4):
        out = tmp_path / f"{turn}.txt"
        with out.open("wb") as file:
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, database, str(turn)], stdout=file
            )
            while out.stat().st_size < 200 * (turn + 1):
                assert writer.poll() is None
                time.sleep(0.01)
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        answered += out.read_text().splitlines()[:-1]
    store = Store(database)
    kept = {row["key"] for row in store.export("ann")["events"]}
    store.close()
    assert len(answered) > 50
    assert set(answered) <= kept
