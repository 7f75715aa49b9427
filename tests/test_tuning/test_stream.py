"""The order of training is fixed, complete and can be entered anywhere."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrec.backbones import Backbone, EncodedExample
from instructrec.data.dataset import Dataset
from instructrec.data.splits import Protocol
from instructrec.errors import DataError, UsageError
from instructrec.instructions.corpus import Corpus
from instructrec.tuning import stream as stream_module
from instructrec.tuning.start import start_backbone, training_titles
from instructrec.tuning.stream import Position, Step, Stream, bucket

from .conftest import quick


@pytest.fixture
def backbone(corpus: Corpus, dataset: Dataset, tmp_path: Path) -> Backbone:
    return start_backbone(corpus, dataset, quick(), tmp_path / "tokenizer")


@pytest.fixture
def small_blocks(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Corpus:
    """The corpus in row groups of 40 rows, two of them a block."""
    folder = tmp_path / "corpus"
    (folder / "train").mkdir(parents=True)
    (folder / "manifest.json").write_bytes((corpus.folder / "manifest.json").read_bytes())
    corpus.rows("train").write_parquet(folder / "train" / "00000.parquet", row_group_size=40)
    monkeypatch.setattr(stream_module, "BLOCK_ROWS", 80)
    return Corpus(folder)


def flat(steps: list[Step]) -> list[EncodedExample]:
    return [example for step in steps for piece in step for example in piece]


def epoch_of(stream: Stream, epoch: int) -> list[Step]:
    return [
        step for block in range(len(stream.blocks(epoch))) for step in stream.steps(epoch, block)
    ]


def test_an_epoch_holds_every_row_once_in_another_order_and_wording_each_time(
    small_blocks: Corpus, backbone: Backbone
) -> None:
    stream = Stream(small_blocks, backbone, quick(null_share=0))
    rows = small_blocks.rows("train")
    expected = sorted(rows["response"])
    texts = []
    for epoch in (0, 1):
        examples = flat(epoch_of(stream, epoch))
        answers = [backbone.tokenizer.decode(one.response[:-1]).strip() for one in examples]
        assert sorted(answers) == expected
        texts.append([one.prompt for one in examples])
    assert len(stream.blocks(0)) > 2
    assert texts[0] != texts[1]
    assert sorted(map(tuple, texts[0])) != sorted(map(tuple, texts[1]))


def test_several_shards_are_read_as_one(
    small_blocks: Corpus, backbone: Backbone, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    (folder / "train").mkdir(parents=True)
    (folder / "manifest.json").write_bytes((small_blocks.folder / "manifest.json").read_bytes())
    rows = small_blocks.rows("train")
    for number, part in enumerate(rows.iter_slices(120)):
        part.write_parquet(folder / "train" / f"{number:05}.parquet", row_group_size=40)
    one, many = (Stream(corpus, backbone, quick()) for corpus in (small_blocks, Corpus(folder)))
    assert len(many.corpus.shards("train")) > 2
    assert epoch_of(one, 0) == epoch_of(many, 0)
    assert epoch_of(one, 1) == epoch_of(many, 1)


def test_the_same_seed_gives_the_same_order_and_another_seed_another(
    small_blocks: Corpus, backbone: Backbone
) -> None:
    first, again, other = (
        list(islice(Stream(small_blocks, backbone, quick(seed=seed)).walk(), 20))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_training_entered_at_any_place_goes_on_as_if_it_had_never_stopped(
    small_blocks: Corpus, backbone: Backbone
) -> None:
    stream = Stream(small_blocks, backbone, quick())
    length = 2 * stream.count(0)
    walked = list(islice(stream.walk(), length))
    for at in range(0, length - 1, 3):
        position, _ = walked[at]
        rest = list(islice(stream.walk(Position(*position)), length - at - 1))
        assert rest == walked[at + 1 :]
    assert {position.epoch for position, _ in walked} >= {0, 1}


def test_reranking_prompts_name_no_candidate_unless_asked_to(
    corpus: Corpus, backbone: Backbone
) -> None:
    def longest(share: float) -> int:
        config = quick(candidates_share=share, mix={"T0": 0, "T2": 0})
        return max(len(one) for one in flat(epoch_of(Stream(corpus, backbone, config), 0)))

    assert longest(1.0) > longest(0.0) + 30


def test_the_mix_thins_rows_of_its_kind_alone_and_draws_anew_each_epoch(
    corpus: Corpus, backbone: Backbone
) -> None:
    rows = corpus.rows("train")
    kinds = rows.filter(pl.col("scenario") == "P1,I0,T3").height
    stream = Stream(corpus, backbone, quick(null_share=0, mix={"P1,I0,T3": 0.5}))
    epochs = [flat(epoch_of(stream, epoch)) for epoch in (0, 1)]
    for examples in epochs:
        left = len(examples) - (rows.height - kinds)
        assert 0.3 * kinds < left < 0.7 * kinds
    responses = [sorted(tuple(one.response) for one in examples) for examples in epochs]
    assert responses[0] != responses[1]


def test_a_mix_that_leaves_nothing_is_told(corpus: Corpus, backbone: Backbone) -> None:
    empty = quick(mix={"T0": 0, "T2": 0, "T3": 0})
    with pytest.raises(DataError, match="leaves no training row"):
        next(Stream(corpus, backbone, empty).walk())


def test_a_mix_names_scenarios_tasks_and_strategies() -> None:
    config = quick(mix={"T2": 0.5, "P1/P2,I0,T2": 0.25, "turned-around": 0.0})
    assert config.share("P1,I0,T2", "direct") == 0.25
    assert config.share("P0,I2,T2", "direct") == 0.5
    assert config.share("P1,I0,T2", "turned-around") == 0.0
    assert config.share("P1,I0,T3", "direct") == 1.0
    with pytest.raises(UsageError, match="not a scenario"):
        quick(mix={"T9": 0.5})
    with pytest.raises(UsageError, match="0 to 1"):
        quick(mix={"T2": 1.5})


def test_some_rows_are_seen_again_without_the_user(corpus: Corpus, backbone: Backbone) -> None:
    config = quick(null_share=0.5)
    examples = flat(epoch_of(Stream(corpus, backbone, config), 0))
    null = backbone.prompt_ids([config.null_prompt])[0]
    count = sum(one.prompt == null for one in examples)
    items = corpus.rows("train").filter(pl.col("asks") == "item").height
    assert 0.3 * items < count < 0.7 * items


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 10)), max_size=60),
    st.integers(50, 200),
)
def test_pieces_hold_every_example_once_within_the_token_limit(
    sizes: list[tuple[int, int]], limit: int
) -> None:
    examples = [
        EncodedExample([number] * prompt, [1] * response, [])
        for number, (prompt, response) in enumerate(sizes)
    ]
    pieces = bucket(examples, limit)
    assert all(max(map(len, piece)) * len(piece) <= limit for piece in pieces)
    held = sorted(example.prompt[0] for piece in pieces for example in piece)
    assert held == list(range(len(sizes)))


def test_under_the_item_split_the_tokenizer_is_not_trained_on_unseen_titles(
    dataset: Dataset,
) -> None:
    split = dataset.split("items").items
    known = set(training_titles(dataset, Protocol.ITEMS))
    for item_id, name in split.iter_rows():
        title = dataset.catalogue.titles[dataset.catalogue.index[item_id]]
        assert name != "train" or title in known
    assert len(training_titles(dataset, Protocol.ITEMS)) == (split["split"] == "train").sum()
    assert training_titles(dataset, Protocol.LEAVE_ONE_OUT) == dataset.catalogue.titles
