"""An item asked for by its title: what the SavedModel makes of the words is what the model makes of them."""

import dataclasses

import numpy as np

from preprocessing.backend import tf
from serving.signatures import RETRIEVE_BY_CONTENT
from trainer.artefact import load_model


def test_a_title_alone_is_encoded_as_the_model_encodes_it(exported, trained):
    model, catalogue, _ = load_model(trained.model, trained.items)
    vectors = model.embed_catalogue()
    row = 5
    known = model.inputs_of(tf.constant([row]))
    absent = tf.zeros_like(known.content)
    inputs = dataclasses.replace(
        known,
        index=tf.constant([catalogue.num_items]),
        categories=tf.zeros_like(known.categories),
        content=absent,
    )
    assert model.encoder.with_content(inputs).content.numpy().any()
    engagement, _, relevance = (part.numpy()[0] for part in model.embed(inputs))
    encoded = model.engagement_query(model.encoder(model.encoder.with_content(inputs))).numpy()[0]
    assert np.abs(engagement - encoded).max() > 1e-2  # it is asked with what its like leads to, too
    retrieve = tf.saved_model.load(str(exported.directory)).signatures[RETRIEVE_BY_CONTENT]
    answer = retrieve(
        title=tf.constant([trained.items.titles[row]]),
        description=tf.constant([""]),
        categories=tf.constant([""]),
        content_vector=tf.constant([[0.0]]),
        relevance_weight=tf.constant([0.3]),
        k=tf.constant([30]),
    )
    rows = [trained.items.ids.index(item_id.decode()) for item_id in answer["item_id"].numpy()[0]]
    for name, table, query in (
        ("engagement_score", vectors.engagement_candidate, engagement),
        ("relevance_score", vectors.relevance, relevance),
    ):
        np.testing.assert_allclose(answer[name].numpy()[0], table[rows] @ query, atol=1e-5)
