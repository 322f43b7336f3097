"""In-graph features of raw strings."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.backend import tf
from preprocessing.transform import GRAM_BUCKETS, CategoryLookup, split_categories, text_grams, text_tokens

BUCKETS = 1 << 20


def tokens(*titles, descriptions=None, length=8, buckets=BUCKETS):
    described = [""] * len(titles) if descriptions is None else descriptions
    found = text_tokens(tf.constant(list(titles)), tf.constant(described), buckets=buckets, length=length)
    assert found.dtype == tf.int32
    return found.numpy().tolist()


def test_words_come_first_and_pairs_of_words_after_them():
    (a, b, ab), (only, *rest) = tokens("Red SHOE", length=3)[0], tokens("shoe")[0]
    assert len({a, b, ab}) == 3
    assert (only, set(rest)) == (b, {0})
    assert tokens("shoe red", length=3)[0][:2] == [b, a]
    assert tokens("shoe red", length=3)[0][2] != ab  # order matters


def test_case_punctuation_and_space_do_not_matter():
    same = tokens("Ärger, im   BÜRO!", "ärger im büro", "  (ärger)-im/büro  ")
    assert same[0] == same[1] == same[2]
    assert tokens("書 本")[0] != tokens("書")[0]


def test_marks_are_of_the_word_that_they_stand_in():
    assert grams("हिन्दी")[0][:1] == [bucket("हिन्दी", 0)]
    assert tokens("हिन्दी किताब", length=3)[0][:2] == [tokens("हिन्दी")[0][0], tokens("किताब")[0][0]]
    assert tokens("cafe\u0301")[0][1:] == [0] * 7
    # Without a letter they are none.
    assert tokens("\u0301", "\u2764\ufe0f", "x \u2764\ufe0f") == [[0] * 8, [0] * 8, tokens("x")[0]]


known = st.characters(max_codepoint=0x3000, exclude_characters="\0", exclude_categories=["Cn", "Cs"])
lower = known.filter(lambda letter: letter == letter.lower())


@settings(max_examples=100)
@given(st.lists(st.text(lower | st.sampled_from("ab \u0301\u093f"), max_size=12), min_size=1, max_size=4))
def test_words_are_letters_and_digits_with_their_marks(titles):
    for title, found in zip(titles, grams(*titles, words=99), strict=True):
        words, inside = [], False
        for letter in title:
            kind = unicodedata.category(letter)[0]
            inside = kind in "LN" or (inside and kind == "M")
            words.append(letter if inside else " ")
        expected = [bucket(word, 0) for word in "".join(words).split(" ") if word]
        assert found[: len(expected)] == expected


def test_description_follows_the_title():
    assert tokens("red", descriptions=["shoe"]) == tokens("red shoe")
    assert tokens("", descriptions=["shoe"]) == tokens("shoe")


def test_nothing_to_read():
    assert tokens("", "!!! ...", "\n\t") == [[0] * 8] * 3
    assert text_tokens(tf.constant([], tf.string), tf.constant([], tf.string), buckets=9, length=3).shape == (0, 3)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.integers(1, 50), st.integers(1, 6))
def test_any_text_gives_ids_in_range_and_a_row_of_its_own(titles, buckets, length):
    together = np.array(tokens(*titles, buckets=buckets, length=length))
    assert together.shape == (len(titles), length)
    assert ((together >= 0) & (together <= buckets)).all()
    ended = np.cumsum(together == 0, axis=1) > 0
    assert not together[ended].any()  # padding comes last
    alone = [tokens(title, buckets=buckets, length=length)[0] for title in titles]
    assert together.tolist() == alone


def grams(*titles, words=8):
    found = text_grams(tf.constant(list(titles)), tf.fill([len(titles)], ""), words=words)
    assert found.dtype == tf.int32
    return found.to_list()


def bucket(text, kind):
    return int(tf.strings.to_hash_bucket_fast(text, GRAM_BUCKETS)) + kind * GRAM_BUCKETS


def test_grams_are_the_words_then_three_and_four_letters_with_the_ends_of_words():
    expected = [bucket(word, 0) for word in ("ab", "ü")] + [bucket(run, 1) for run in (" ab", "ab ", " ab ", " ü ")]
    assert grams("Ab-Ü!") == [expected]


def test_grams_of_no_words_and_of_too_many():
    assert grams("", "?!", "a b c", words=2)[:2] == [[], []]
    assert grams("a b c", words=2) == grams("a b")
    assert text_grams(tf.constant([], tf.string), tf.constant([], tf.string), words=3).to_list() == []


@settings(max_examples=50)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_any_text_gives_grams_in_range_and_of_its_own(titles):
    together = grams(*titles)
    assert all(0 <= gram < 2 * GRAM_BUCKETS for row in together for gram in row)
    assert together == [grams(title)[0] for title in titles]


def test_categories_are_split_and_stripped():
    found = split_categories(tf.constant(["a|b", " a || b |", "", "|", "a"])).to_list()
    assert found == [[b"a", b"b"], [b"a", b"b"], [], [], [b"a"]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [([["x", "y"]], [2, 3, 0]), ([["new", "x"]], [1, 2, 0]), ([[]], [0, 0, 0]), ([["y", "x", "y", "x"]], [3, 2, 3])],
)
def test_category_lookup(names, expected):
    ragged = tf.ragged.constant(names, dtype=tf.string, ragged_rank=1)
    found = CategoryLookup(["x", "y"], 3)(ragged)
    assert found.dtype == tf.int32
    assert found.numpy().tolist() == [expected]


def test_category_lookup_without_a_vocabulary():
    assert CategoryLookup([], 2)(split_categories(tf.constant(["a", ""]))).numpy().tolist() == [[1, 0], [0, 0]]


def test_graph_travels_into_a_saved_model(tmp_path):
    module = tf.Module()
    module.lookup = CategoryLookup(["x"], 2)
    module.f = tf.function(
        lambda title, names: (
            text_tokens(title, title, buckets=99, length=4),
            module.lookup(split_categories(names)),
        ),
        input_signature=[tf.TensorSpec([None], tf.string)] * 2,
    )
    tf.saved_model.save(module, str(tmp_path))
    arguments = tf.constant(["a b", ""]), tf.constant(["x|z", ""])
    expected, found = module.f(*arguments), tf.saved_model.load(str(tmp_path)).f(*arguments)
    assert [part.numpy().tolist() for part in found] == [part.numpy().tolist() for part in expected]
