"""The `onnx` teacher: a sentence encoder that runs inside Beam."""

import concurrent.futures
import logging
import os
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from preprocessing.catalogue import Item
from preprocessing.config import TeacherConfig
from preprocessing.errors import UserError
from preprocessing.job import PROGRESS_SECONDS
from preprocessing.semantics import item_text, normalised

MODEL: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"
_KNOWN_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
_SLICE: Final = 1024
"""Texts handed to the threads at a time, since each waiting one takes memory."""
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


def check_directory(config: TeacherConfig) -> str:
    """The configured directory, after a look at what it holds.

    Raises:
      UserError: it is not set, or the model or the tokenizer is missing.
    """
    if not config.path:
        raise UserError(f"teacher.kind=onnx needs teacher.path, a directory with {MODEL} and {TOKENIZER}")
    for name in (MODEL, TOKENIZER):
        path = os.path.join(config.path, name)
        if not os.path.isfile(path):
            raise UserError(f"teacher.path: {path} does not exist; expected a directory with {MODEL} and {TOKENIZER}")
    return config.path


class OnnxEncoder:
    """A sentence encoder: tokens in, the masked mean of the last hidden state, or a pooled output, out."""

    def __init__(self, config: TeacherConfig, *, with_categories: bool):
        """Loads model and tokenizer.

        Raises:
          UserError: either cannot be loaded, or the model's inputs or outputs are not those of a sentence encoder.
        """
        import onnxruntime
        import tokenizers

        directory = check_directory(config)
        self._with_categories = with_categories
        model, tokenizer = os.path.join(directory, MODEL), os.path.join(directory, TOKENIZER)
        options = onnxruntime.SessionOptions()
        # One thread in the session keeps the order of its sums; the texts are what runs in parallel.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UserError(f"{model} is not a model that ONNX Runtime can load: {_line(error)}") from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(tokenizer)
        except Exception as error:
            raise UserError(f"{tokenizer} is not a tokenizer that can be loaded: {_line(error)}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=config.max_tokens)
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        unknown = sorted(set(self._inputs) - set(_KNOWN_INPUTS))
        if unknown or "input_ids" not in self._inputs:
            raise UserError(
                f"{model} takes {', '.join(self._inputs)}; expected a sentence encoder with {', '.join(_KNOWN_INPUTS)}"
            )
        self._output = self._choose_output(model)
        self.dimension = len(self._vector("a"))

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Vectors float32 [n, D], zero for items without text.

        Each distinct text goes through the model alone: dynamic quantisation scales by the largest activation of a
        batch, so a vector would otherwise depend on which texts happen to be its neighbours.
        """
        texts = [item_text(item, with_categories=self._with_categories) for item in items]
        distinct = sorted({text for text in texts if text})
        places = {text: place for place, text in enumerate(distinct)}
        encoded = np.zeros((len(distinct), self.dimension), np.float64)
        begun = reported = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(_threads()) as threads:
            vectors_of = (
                vector
                for first in range(0, len(distinct), _SLICE)
                for vector in threads.map(self._vector, distinct[first : first + _SLICE])
            )
            for place, vector in enumerate(vectors_of):
                encoded[place] = vector
                now = time.monotonic()
                if now - reported >= PROGRESS_SECONDS:
                    reported = now
                    rate = (place + 1) / (now - begun)
                    _LOGGER.info(
                        "onnx teacher: %d of %d texts of a shard, %.0f a second", place + 1, len(distinct), rate
                    )
        vectors = np.zeros((len(texts), self.dimension), np.float64)
        for row, text in enumerate(texts):
            if text:
                vectors[row] = encoded[places[text]]
        return normalised(vectors)

    def _vector(self, text: str) -> npt.NDArray[np.float64]:
        encoding = self._tokenizer.encode(text)
        columns = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feed = {name: np.array([columns[name]], np.int64) for name in self._inputs}
        try:
            (output,) = self._session.run([self._output], feed)
        except Exception as error:
            raise UserError(f"teacher.path: the model fails on {text[:60]!r}: {_line(error)}") from error
        values: npt.NDArray[np.float64] = np.asarray(output, np.float64)[0]
        if values.ndim == 2:
            mask = np.array(encoding.attention_mask, np.float64)
            values = mask @ values / max(mask.sum(), 1.0)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise UserError(f"teacher.path: the model's output {self._output} is not a finite vector for {text[:60]!r}")
        return values

    def _choose_output(self, model: str) -> str:
        outputs: dict[str, Any] = {entry.name: entry.shape for entry in self._session.get_outputs()}
        for name in ("sentence_embedding", "last_hidden_state"):
            if name in outputs:
                return name
        for rank in (2, 3):
            for name, shape in outputs.items():
                if len(shape) == rank:
                    return name
        raise UserError(f"{model} gives {', '.join(outputs)}; expected an output [batch, D] or [batch, sequence, D]")


def _threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
