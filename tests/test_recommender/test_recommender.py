"""A recommender answers users, strangers and wishes, and says why."""

from __future__ import annotations

import json

import pytest

from instructrec.errors import FolderError, UsageError
from instructrec.protocols import Filters
from instructrec.reasons import words_of
from instructrec.recommender import AS_WRITTEN, Recommender


def titles(answer) -> list[str]:
    return [item.title for item in answer.items]


def test_a_user_gets_what_goes_with_their_history_and_nothing_they_own(recommender):
    answer = recommender.recommend(user="ann", k=3)
    assert titles(answer)[0] == "Turbo Kart Deluxe"
    assert not {"Turbo Kart", "Speed Legends", "Quiet Farm"} & set(titles(answer))
    assert answer.scenario == "P1,I0,T3"


def test_owned_items_are_answered_when_asked_for(recommender):
    answer = recommender.recommend(user="ann", k=8, owned=True)
    assert "Turbo Kart" in titles(answer)


def test_a_strangers_words_are_enough(recommender):
    answer = recommender.recommend(wish="a racing game for my son", k=3)
    assert answer.scenario == "P0,I1,T3"
    assert set(titles(answer)) == {"Turbo Kart", "Turbo Kart Deluxe", "Speed Legends"}
    assert answer.items[0].because.words == ("racing", "game")


def test_a_user_who_is_not_in_the_dataset_is_welcome_and_told_so(recommender):
    answer = recommender.recommend(user="zoe", k=2)
    assert len(answer.items) == 2
    assert answer.notes == ("user zoe is not in the dataset: answered as a stranger",)


def test_a_limit_said_in_words_is_kept_and_shown(recommender):
    answer = recommender.recommend(wish="a racing game under 30", k=8)
    assert answer.filters == ("price <= 30.0",)
    assert set(titles(answer)) & {"Turbo Kart", "Speed Legends"}
    assert "Turbo Kart Deluxe" not in titles(answer)
    assert "Watering Can" not in titles(answer)  # its price is unknown


def test_given_filters_hold_beside_those_in_words(recommender):
    answer = recommender.recommend(
        wish="something under 30", filters=Filters.parse(["categories has Garden"]), k=8
    )
    assert set(titles(answer)) == {"Garden Hose", "Rose Shears", "Clay Pot"}
    assert answer.filters == ("categories has Garden", "price <= 30.0")


def test_limits_that_nothing_meets_give_no_item_and_say_so(recommender):
    answer = recommender.recommend(wish="a racing game under 3")
    assert answer.items == ()
    assert answer.notes == (AS_WRITTEN, "no item meets price <= 3.0")


def test_a_filter_over_an_unknown_column_is_refused(recommender):
    with pytest.raises(UsageError, match="a filter names the column 'colour'"):
        recommender.recommend(wish="a game", filters=Filters.parse(["colour==red"]))


def test_a_history_may_be_given_by_title_or_id_and_hold_strange_titles(recommender):
    answer = recommender.recommend(history=["turbo  kart", "g3", "Chess"], k=1)
    assert titles(answer) == ["Turbo Kart Deluxe"]
    assert answer.notes == ("not in the catalogue, read as words only: Chess",)


def test_evidence_adds_up_to_the_score_and_history_speaks_for_items(recommender):
    best = recommender.recommend(user="ann", k=1).items[0]
    assert sum(best.evidence.values()) == pytest.approx(best.score, abs=1e-4)
    assert next(title for title, _ in best.because.history) in {"Turbo Kart", "Speed Legends"}


def test_the_instruction_is_shown_whole_and_in_marked_parts(recommender):
    answer = recommender.recommend(user="ann", wish="a racing game")
    assert "".join(part.text for part in answer.parts) == answer.instruction
    kinds = [(part.kind, part.text) for part in answer.parts]
    assert ("preference", "Turbo Kart") in kinds
    assert ("intention", "a racing game") in kinds
    assert kinds[-1] == ("task", " Which one?")


def test_the_language_model_alone_can_be_asked(recommender):
    answer = recommender.recommend(user="ann", evidence="lm", k=1)
    assert titles(answer) == ["Turbo Kart Deluxe"]
    assert set(answer.items[0].evidence) == {"lm"}


def test_the_language_model_alone_needs_something_to_go_by(recommender):
    with pytest.raises(UsageError, match="nothing to go by"):
        recommender.recommend(evidence="lm")


def test_t0_says_yes_to_what_fits_and_no_to_what_does_not(recommender):
    fits = recommender.recommend(user="ann", task="T0", candidates=["Turbo Kart Deluxe"])
    other = recommender.recommend(user="ann", task="T0", candidates=["Clay Pot"])
    assert (fits.answer, other.answer) == ("yes", "no")
    assert 1 > fits.items[0].probability > 0.5 > other.items[0].probability > 0


def test_t0_says_no_to_what_breaks_a_limit(recommender):
    answer = recommender.recommend(
        wish="a racing game under 30", task="T0", candidates=["Turbo Kart Deluxe"]
    )
    assert answer.answer == "no"
    assert answer.items[0].probability == 0.0
    assert answer.notes == (AS_WRITTEN, "Turbo Kart Deluxe does not meet price <= 30.0")


def test_t1_names_one_of_two_whatever_their_order(recommender):
    pair = ["Clay Pot", "Speed Legends"]
    for candidates in (pair, pair[::-1]):
        answer = recommender.recommend(wish="racing", task="T1", candidates=candidates)
        assert answer.answer == "Speed Legends"
        assert sum(item.probability for item in answer.items) == pytest.approx(1.0, abs=1e-3)


def test_t2_names_one_item(recommender):
    answer = recommender.recommend(wish="a deluxe kart", task="T2")
    assert (answer.answer, len(answer.items)) == ("Turbo Kart Deluxe", 1)


def test_the_language_model_alone_judges_compares_and_names(recommender):
    judged = recommender.recommend(
        wish="a kart game", task="T0", candidates=["Turbo Kart", "Clay Pot"], evidence="lm"
    )
    assert [item.probability for item in judged.items] == [0.9, 0.1]
    assert judged.instruction.startswith("T0 Turbo Kart")
    pair = ["Clay Pot", "Turbo Kart"]
    one = recommender.recommend(wish="a kart", task="T1", candidates=pair, evidence="lm")
    assert one.answer == "Turbo Kart"
    assert one.instruction.startswith("T1 Clay Pot or Turbo Kart")
    named = recommender.recommend(wish="rose shears", task="T2", evidence="lm")
    assert named.answer == "Rose Shears"
    assert named.instruction.startswith("T2 ")


def test_t2_names_nothing_that_breaks_a_limit(recommender):
    answer = recommender.recommend(wish="a turbo kart deluxe under 30", task="T2")
    assert answer.answer == "Turbo Kart"


def test_t3_reranks_the_candidates_given_and_no_others(recommender):
    answer = recommender.recommend(user="ann", candidates=["Clay Pot", "Turbo Kart", "Rose Shears"])
    assert titles(answer)[0] == "Turbo Kart"
    assert len(answer.items) == 3


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        ({"task": "T9"}, "'T9' is not a task form. Use T0, T1, T2 or T3"),
        ({"task": "T0"}, "T0 judges an item and none is given. Add --candidate TITLE"),
        ({"task": "T1", "candidates": ["g1"]}, "T1 compares two items and 1 are given"),
        ({"task": "T2", "candidates": ["g1"]}, "T2 names one item of the whole catalogue"),
        ({"candidates": ["Turbo Cart"]}, "has no item 'Turbo Cart'. Did you mean 'Turbo Kart'?"),
        ({"k": 0}, "0 items cannot be answered. Ask for one at least"),
    ],
)
def test_a_wrong_request_is_one_line_with_its_cure(recommender, ask, line):
    with pytest.raises(UsageError) as caught:
        recommender.recommend(wish="a game", **ask)
    assert line in str(caught.value)


def test_many_users_get_what_each_would_get_alone(recommender):
    users = ["ann", "zoe", "bob", "cat"]
    frame = recommender.recommend_many(users, k=3, batch=2)
    for user in users:
        alone = [item.item_id for item in recommender.recommend(user=user, k=3).items]
        rows = frame.filter(frame["user_id"] == user)
        assert rows["item_id"].to_list() == alone
        assert rows["rank"].to_list() == list(range(1, len(alone) + 1))


def test_many_users_are_ranked_by_the_language_model_alone_where_it_has_something_to_go_by(
    recommender, monkeypatch
):
    read: list[str | None] = []
    score = recommender.lm.score

    def counting(instructions, candidates):
        read.extend(one.user_id for one in instructions)
        return score(instructions, candidates)

    monkeypatch.setattr(recommender.lm, "score", counting)
    frame = recommender.recommend_many(["ann", "zoe", "bob"], k=2, evidence="lm")
    # Once each: the fused score, which reads it too, is not needed for them.
    assert read == ["ann", "bob"]
    for user in ("ann", "bob"):
        alone = recommender.recommend(user=user, k=2, evidence="lm")
        rows = frame.filter(frame["user_id"] == user)
        assert rows["item_id"].to_list() == [item.item_id for item in alone.items]
    stranger = recommender.recommend(user="zoe", k=2)
    rows = frame.filter(frame["user_id"] == "zoe")
    assert rows["item_id"].to_list() == [item.item_id for item in stranger.items]


def test_no_users_give_no_rows(recommender):
    assert recommender.recommend_many([], k=3).height == 0


def test_an_answer_is_plain_json(recommender):
    answer = recommender.recommend(user="ann", wish="a racing game under 30", k=2)
    told = json.loads(json.dumps(answer.to_dict()))
    assert told["items"][0]["rank"] == 1
    assert told["filters"] == ["price <= 30.0"]


def test_leaving_a_retriever_out_leaves_its_evidence_out(recommender):
    answer = recommender.without("neighbours").recommend(user="ann", k=1)
    assert "neighbours" not in answer.items[0].evidence


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(FolderError, match="there is no run"):
        Recommender.load(tmp_path / "absent")
    with pytest.raises(FolderError, match="has no dataset: it is no run, or one that is not"):
        Recommender.load(tmp_path)


def test_telling_words_leave_small_words_out():
    assert words_of("I want a gift for my son, a GIFT!") == ["gift", "son"]


def test_the_language_model_is_told_no_longer_a_history_than_it_was_trained_on(recommender, shop):
    short = Recommender(
        shop, recommender.retrievers, recommender.lm, recommender.fusion_file, max_history=3
    )
    long_text = recommender.recommend(user="ann", k=1).instruction
    short_text = short.recommend(user="ann", k=1).instruction
    assert long_text.count("Turbo Kart") == 1
    assert "Quiet Farm" in short_text
    assert "Turbo Kart" not in short_text
