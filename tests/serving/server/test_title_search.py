from hypothesis import given, settings, strategies as st

from serving.server.title_search import TitleSearch, fold

TITLES = ["Red Lunch Bag", "Lunch Bag Red Spots", "Café au lait", "LUNCHBOX", "A red\nlunch\tbag", "", "Bag"]
IDS = ["a1", "a2", "b1", "b2", "c1", "lunch", "20 7"]


def found(query, most=10):
    search = TitleSearch(IDS, TITLES)
    return [IDS[row] for row in search.find(query, most)]


def test_the_id_comes_first_then_titles_that_begin_with_the_words():
    assert found("lunch") == ["lunch", "b2", "a2", "a1", "c1"]
    assert found("lunch", 2) == ["lunch", "b2"]


def test_every_word_must_occur_in_any_order_of_any_case():
    assert found("BAG  red") == ["a2", "a1", "c1"]
    assert found("bag blue") == []


def test_accents_and_whitespace_do_not_matter():
    assert found("cafe") == found("CAFÉ") == ["b1"]
    assert found("20 7") == ["20 7"]


def test_nothing_is_found_by_nothing():
    assert found("") == found(" \n") == []
    assert TitleSearch([], []).find("a", 5) == []


words = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=6)


@settings(max_examples=40)
@given(st.lists(st.tuples(words, st.lists(words, max_size=4).map(" ".join)), max_size=12), words)
def test_as_a_plain_look_at_every_title_would_find(items, query):
    ids, titles = [each for each, _ in items], [title for _, title in items]
    asked = fold(query).split()
    lines = [f"{fold(title)} \t{fold(each)}" for each, title in items]
    expected = {row for row, line in enumerate(lines) if asked and all(word in line for word in asked)}
    assert set(TitleSearch(ids, titles).find(query, 100)) == expected
