"""A version without TensorFlow: a small shop whose titles, categories and ids a page must not trust."""

import numpy as np

from serving.server.servable import SignatureInfo, TensorInfo
from serving.signatures import ANSWER, SIGNATURES, SOURCE_BOTH, SOURCE_ENGAGEMENT, SOURCE_POPULAR, SOURCE_RELEVANCE
from serving.tensors import Plain

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
TITLES = ["Red lunch bag", "Blue lunch bag", HOSTILE, "Tea cup", "", "Ünï\u202ecöde", "x" * 300]
IDS = ["1", "2", "</script><script>window.hacked=1</script>", "4", "untitled/5?#&", "🎬", "7"]
TOPICS = ["bags|red", "bags", f"{HOSTILE}|{'y' * 200}", "", "", "ü", "bags"]
_DTYPES = {"float32": 1, "int32": 3, "string": 7}


class ShopServable:
    """Items on a ring: engagement likes the next ones, relevance the ones before."""

    version = 7
    signature_def_map = b""

    def __init__(self, without: tuple[str, ...] = ()) -> None:
        self.signatures = {
            name: SignatureInfo(
                name,
                {each.name: TensorInfo(_DTYPES[each.dtype], each.shape) for each in signature.inputs},
                tuple(each.name for each in signature.outputs),
            )
            for name, signature in SIGNATURES.items()
            if name not in without
        }

    def signature(self, name):
        return self.signatures[name]

    def close(self):
        pass

    def predict(self, signature, inputs):
        answer = self._answer(signature, {name: tensor.array() for name, tensor in inputs.items()})
        return {name: Plain.of(array) for name, array in answer.items()}

    def _answer(self, signature, inputs):
        if signature.name == "describe":
            rows = [IDS.index(each.decode()) if each.decode() in IDS else None for each in inputs["item_id"]]
            columns = {"title": TITLES, "categories": TOPICS}
            return {
                name: np.array([b"" if row is None else column[row].encode() for row in rows], object)
                for name, column in columns.items()
            }
        assert signature.name == "retrieve"
        return self._retrieve(**inputs)

    def _retrieve(self, item_id, relevance_weight, k, exclude_id):
        assert exclude_id.tolist() == [[b""]] * len(k)
        names = [each.name for each in ANSWER[:-1]]
        out = {
            name: np.zeros((len(k), max(k)), object if name in ("item_id", "source") else np.float32) for name in names
        }
        out["item_id"][:] = out["source"][:] = b""
        count = np.minimum(k, len(IDS) - 1).astype(np.int32)
        for row, weight in enumerate(relevance_weight):
            known = [IDS.index(each.decode()) for each in item_id[row] if each.decode() in IDS]
            order = self._order(known[-1] if known else None, weight)[: count[row]]
            for at, (item, engagement, relevance, source) in enumerate(order):
                out["item_id"][row, at], out["source"][row, at] = IDS[item].encode(), source.encode()
                out["engagement_score"][row, at], out["relevance_score"][row, at] = engagement, relevance
                out["score"][row, at] = (1 - weight) * engagement + weight * relevance
            count[row] = len(order)
        return {**out, "count": count}

    def _order(self, trigger, weight):
        size = len(IDS)
        if trigger is None:
            return [(item, 0.0, 0.0, SOURCE_POPULAR) for item in range(size)]
        others = []
        for step in range(1, size):
            engagement, relevance = 1 - step / size, step / size
            source = SOURCE_ENGAGEMENT if step < 3 else SOURCE_BOTH if step == 3 else SOURCE_RELEVANCE
            others.append(((trigger + step) % size, engagement, relevance, source))
        return sorted(others, key=lambda each: -((1 - weight) * each[1] + weight * each[2]))
