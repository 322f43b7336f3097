"""A SavedModel in a session of TensorFlow's C API: loaded as TF Serving loads it, asked from any thread."""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from serving import wire
from serving.server.background import gives_way, when_idle
from serving.server.c_api import INVALID_ARGUMENT, ModelError, Output, Status, library
from serving.server.c_tensors import to_plain, to_tensor
from serving.tensors import Plain, numpy_dtype

_CALLERS_THREAD: Final = wire.RunOptions(inter_op_thread_pool=-1).SerializeToString()
"""The ops run in the thread that asks. With one processor nothing can run
beside them, and handing them to another thread takes 40 of 750 microseconds; and what a thread asks that gives way is
not to be done by others that don't."""
_ONE: Final = 1
_OPTIMIZERS: Final = ("pruning", "function", "common_subgraph_elimination", "dependency")
"""Of TensorFlow's graph optimisers those that make a request quicker: functions written out, and what they share done
once. All of them, twice over, were more than half of the processor time that loading takes, for the same answers in
the same time."""


class Session:
    """A SavedModel's graph, with its variables restored and its tables filled.

    Attributes:
        meta_graph: the serialised ``tensorflow.MetaGraphDef``.
    """

    def __init__(self, directory: Path, tag: str) -> None:
        """Loads the graph of that tag from the directory that holds ``saved_model.pb``.

        Raises:
            ModelError: whatever TensorFlow finds wrong with it.
            OSError: TensorFlow's library cannot be used.
        """
        self._functions = functions = library()
        options, settings = functions.TF_NewSessionOptions(), session_config()
        meta_graph = functions.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(tag.encode())
        self._graph, self._session = functions.TF_NewGraph(), None
        self._one_processor = len(os.sched_getaffinity(0)) == 1
        self._callers_thread = functions.TF_NewBufferFromString(_CALLERS_THREAD, len(_CALLERS_THREAD))
        try:
            with Status(functions) as status:
                functions.TF_SetConfig(options, settings, len(settings), status.pointer)
            with Status(functions) as status, when_idle():
                self._session = functions.TF_LoadSessionFromSavedModel(
                    *(options, self.run_options, os.fsencode(directory), tags, len(tags)),
                    *(self._graph, meta_graph, status.pointer),
                )
            self.meta_graph = ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length)
        except BaseException:
            self.close()
            raise
        finally:
            functions.TF_DeleteBuffer(meta_graph)
            functions.TF_DeleteSessionOptions(options)

    @property
    def pointer(self) -> int:
        """The TF_Session.

        Raises:
            ValueError: it is closed.
        """
        if self._session is None:
            raise ValueError("the session is closed")
        return int(self._session)

    @property
    def run_options(self) -> Any:
        """The TF_Buffer of RunOptions for the calling thread, or None."""
        return self._callers_thread if self._one_processor or gives_way() else None

    def outputs(self, names: Sequence[str]) -> Any:
        """An array of TF_Output of tensors, by their names (``node:0``).

        Raises:
            ModelError: the graph has no such node.
        """
        found = (Output * len(names))()
        for place, name in enumerate(names):
            node, _, index = name.rpartition(":")
            operation = self._functions.TF_GraphOperationByName(self._graph, node.encode())
            if not operation:
                raise ModelError(INVALID_ARGUMENT, f"the graph has no tensor {name}")
            found[place] = Output(operation, int(index))
        return found

    def close(self) -> None:
        """Gives the memory back. Not while a `Call` runs."""
        functions = self._functions
        session, self._session = self._session, None
        graph, self._graph = self._graph, None
        if session is not None:
            with Status(functions) as status:
                functions.TF_CloseSession(session, status.pointer)
            with Status(functions) as status:
                functions.TF_DeleteSession(session, status.pointer)
        if graph is not None:
            functions.TF_DeleteGraph(graph)
            functions.TF_DeleteBuffer(self._callers_thread)


class Call:
    """One signature of a session: tensors in, tensors out, from any thread."""

    def __init__(self, session: Session, feeds: Sequence[str], fetches: Sequence[str]) -> None:
        """Looks the tensors up.

        Args:
            session: where they are.
            feeds: names of tensors (``node:0``).
            fetches: names of tensors.

        Raises:
            ModelError: the graph has no such tensor.
            TensorError: a fetched one is of a type that MTMH does not speak.
        """
        self._functions, self._session = library(), session
        self._feeds, self._fetches = session.outputs(feeds), session.outputs(fetches)
        self._given, self._found = (ctypes.c_void_p * len(each) for each in (feeds, fetches))
        self._types = [self._functions.TF_OperationOutputType(each) for each in self._fetches]
        for number in self._types:
            numpy_dtype(number)

    def __call__(self, tensors: Sequence[Plain]) -> list[Plain]:
        """Runs it with a tensor for every feed; gives one for every fetch.

        Raises:
            ModelError: what the graph's ops refuse.
        """
        functions, session = self._functions, self._session
        given, found = self._given(), self._found()
        try:
            for place, tensor in enumerate(tensors):
                given[place] = to_tensor(functions, tensor)
            with Status(functions) as status, when_idle():
                functions.TF_SessionRun(
                    *(session.pointer, session.run_options, self._feeds, given, len(given)),
                    *(self._fetches, found, len(found), None, 0, None, status.pointer),
                )
            return [to_plain(functions, *each) for each in zip(found, self._types, strict=True)]
        finally:
            for pointer in (*given, *found):
                if pointer:
                    functions.TF_DeleteTensor(pointer)


def session_config() -> bytes:
    """The serialised ``tensorflow.ConfigProto`` of a session."""
    config = wire.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.optimizers.extend(_OPTIMIZERS)
    rewrites.meta_optimizer_iterations = _ONE
    return bytes(config.SerializeToString())
