"""The pipeline: what is wired to what, and nothing else.

One definition for the local runner and for Kubeflow. What a runner decides comes in as `Settings`: each of its fields
marked so may be a RuntimeParameter there.
"""

import dataclasses
from typing import Any, Final

from tfx.components import ExampleValidator, InfraValidator, StatisticsGen, Transform
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import infra_validator_pb2, transform_pb2

from tfx_pipeline import item_features, schema
from tfx_pipeline.artifacts import ITEMS_SPLIT, Baseline
from tfx_pipeline.code_versions import CodeVersions
from tfx_pipeline.components.curated_schema import CuratedSchema
from tfx_pipeline.components.data_gate import DataGate
from tfx_pipeline.components.index_builder import IndexBuilder
from tfx_pipeline.components.parameters import to_json
from tfx_pipeline.components.preprocess import Preprocess
from tfx_pipeline.components.pusher import Pusher
from tfx_pipeline.components.retrieval_evaluator import RetrievalEvaluator
from tfx_pipeline.components.serving_validator import ServingValidator
from tfx_pipeline.components.trainer import Trainer
from tfx_pipeline.config import RunConfig

NAME: Final = "mtmh"
_PREPROCESSING_FN: Final = "tfx_pipeline.item_features.preprocessing_fn"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs from run to run and from runner to runner.

    Attributes:
      config: the run's configuration; each component gets its own part as a parameter.
      root: where artifacts go; may be a RuntimeParameter.
      interactions, items, annotations: the user's tables, see `components.parameters`; may be RuntimeParameters.
      fingerprint: names the contents of those tables; may be a RuntimeParameter.
      data_baseline, model_baseline: directories of what data and model are compared with, see `tfx_pipeline.blessed`;
        may be RuntimeParameters.
      destination: directory of the served versions; may be a RuntimeParameter.
      store: directory of the records of what was pushed; may be a RuntimeParameter.
      base: directory of what a training that starts warm begins with, see `tfx_pipeline.blessed`; may be a
        RuntimeParameter.
      data_identity, model_identity, training_identity: name what a pushed version was made of, in its record; may be
        RuntimeParameters.
      relevance, epochs, learning_rate: λ and two more options of the training, by default the configuration's; may be
        RuntimeParameters.
      beam_args: Beam's options, of every component that runs on Beam.
      name: of the pipeline.
      cache: whether unchanged steps are skipped.
      metadata: connection to ML Metadata, where the runner doesn't bring its own.
    """

    config: RunConfig
    root: Any
    interactions: Any
    items: Any
    annotations: Any
    fingerprint: Any
    data_baseline: Any
    model_baseline: Any
    destination: Any
    store: Any
    data_identity: Any
    model_identity: Any
    training_identity: Any
    base: Any = None
    relevance: Any = None
    epochs: Any = None
    learning_rate: Any = None
    beam_args: tuple[str, ...] = ()
    name: str = NAME
    cache: bool = True
    metadata: Any = None


def create_pipeline(settings: Settings) -> Pipeline:
    """From tables to a pushed version."""
    config, code = settings.config, CodeVersions()
    preprocess = Preprocess(
        interactions=settings.interactions,
        items=settings.items,
        annotations=settings.annotations,
        fingerprint=settings.fingerprint,
        config=to_json(config.preprocessing),
        code=code.preprocess,
    )
    data_baseline = _baseline(settings.data_baseline, "DataBaseline")
    items = _branch("Items", preprocess.outputs["items_examples"], schema.schema_text(schema.ITEMS, config.data_gate))
    pairs = _branch("Pairs", preprocess.outputs["pairs_examples"], schema.schema_text(schema.PAIRS, config.data_gate))
    data_gate = DataGate(
        items_statistics=items.statistics.outputs["statistics"],
        items_schema=items.schema.outputs["schema"],
        items_anomalies=items.validator.outputs["anomalies"],
        pairs_statistics=pairs.statistics.outputs["statistics"],
        pairs_schema=pairs.schema.outputs["schema"],
        pairs_anomalies=pairs.validator.outputs["anomalies"],
        manifest=preprocess.outputs["manifest"],
        baseline=data_baseline.outputs["result"],
        config=to_json(config.data_gate),
        code=code.data_gate,
    )
    transform = Transform(
        examples=preprocess.outputs["items_examples"],
        schema=items.schema.outputs["schema"],
        preprocessing_fn=_PREPROCESSING_FN,
        splits_config=transform_pb2.SplitsConfig(analyze=[ITEMS_SPLIT], transform=[ITEMS_SPLIT]),
        materialize=False,
        disable_statistics=True,
        disable_analyzer_cache=True,
        custom_config={
            item_features.BUCKETS: config.model.text_buckets,
            item_features.LENGTH: config.model.text_tokens,
            "code": code.transform,
        },
    )
    # Only after the gate, whose findings are none of its inputs: what they are changes nothing in what is learnt.
    transform.add_upstream_node(data_gate)
    base = _baseline(settings.base, "WarmStart") if config.trainer.warm_start else None
    trainer = Trainer(
        examples=preprocess.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        config=to_json(config.training),
        relevance=_or(settings.relevance, config.loss.relevance),
        epochs=_or(settings.epochs, config.trainer.epochs),
        learning_rate=_or(settings.learning_rate, config.trainer.learning_rate),
        code=code.trainer,
        base=base.outputs["result"] if base else None,
    )
    index_builder = IndexBuilder(
        examples=preprocess.outputs["examples"],
        trained_model=trainer.outputs["model"],
        name=settings.name,
        config=to_json(config.serving),
        code=code.index_builder,
    )
    model_baseline = _baseline(settings.model_baseline, "ModelBaseline")
    evaluator = RetrievalEvaluator(
        examples=preprocess.outputs["examples"],
        trained_model=trainer.outputs["model"],
        model=index_builder.outputs["model"],
        baseline=model_baseline.outputs["result"],
        evaluate=to_json(config.evaluate),
        gate=to_json(config.gate),
        serving=to_json(config.serving),
        code=code.evaluator,
    )
    serving_validator = ServingValidator(
        model=index_builder.outputs["model"],
        snapshot=evaluator.outputs["snapshot"],
        model_blessing=evaluator.outputs["blessing"],
        config=to_json(config.validator),
        seed=config.seed,
        code=code.serving_validator,
    )
    infra_validator = _infra_validator(index_builder, config.validator.tf_serving_image)
    pusher = Pusher(
        model=index_builder.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        serving_blessing=serving_validator.outputs["blessing"],
        infra_blessing=infra_validator.outputs["blessing"] if infra_validator else None,
        trained_model=trainer.outputs["model"],
        snapshot=evaluator.outputs["snapshot"],
        items_statistics=items.statistics.outputs["statistics"],
        pairs_statistics=pairs.statistics.outputs["statistics"],
        manifest=preprocess.outputs["manifest"],
        destination=settings.destination,
        store=settings.store,
        data_identity=settings.data_identity,
        model_identity=settings.model_identity,
        training_identity=settings.training_identity,
        config=to_json(config.push),
        code=code.pusher,
    )
    return Pipeline(
        pipeline_name=settings.name,
        pipeline_root=settings.root,
        components=[
            preprocess,
            *items.nodes,
            *pairs.nodes,
            data_baseline,
            data_gate,
            transform,
            *([base] if base else []),
            trainer,
            index_builder,
            model_baseline,
            evaluator,
            serving_validator,
            *([infra_validator] if infra_validator else []),
            pusher,
        ],
        enable_cache=settings.cache,
        beam_pipeline_args=list(settings.beam_args),
        metadata_connection_config=settings.metadata,
    )


@dataclasses.dataclass(frozen=True)
class _Branch:
    """Statistics, curated schema and its violations, of items or of pairs."""

    statistics: Any
    schema: Any
    validator: Any

    @property
    def nodes(self) -> list[Any]:
        return [self.statistics, self.schema, self.validator]


def _branch(name: str, examples: Any, schema_text: str) -> _Branch:
    statistics = StatisticsGen(examples=examples).with_id(f"{name}StatisticsGen")
    curated = CuratedSchema(schema_text).with_id(f"{name}Schema")
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=curated.outputs["schema"]).with_id(
        f"{name}ExampleValidator"
    )
    return _Branch(statistics, curated, validator)


def _baseline(uri: Any, name: str) -> Importer:
    return Importer(source_uri=uri, artifact_type=Baseline, reimport=False).with_id(name)


def _infra_validator(index_builder: Any, image: str) -> InfraValidator | None:
    """TFX's own validator, which loads the model in a TF Serving image, where one is configured.

    It asks nothing: it would feed serialised examples to the default signature's one string, and take the popular items
    that any unknown id is answered with for an answer.
    """
    if not image:
        return None
    serving = infra_validator_pb2.ServingSpec(
        tensorflow_serving=infra_validator_pb2.TensorFlowServing(**_image(image)),
        local_docker=infra_validator_pb2.LocalDockerConfig(),
        model_name=NAME,
    )
    return InfraValidator(model=index_builder.outputs["model"], serving_spec=serving)


def _image(reference: str) -> dict[str, Any]:
    """An image as TFX names it.

    >>> _image("registry:5000/tensorflow/serving")
    {'image_name': 'registry:5000/tensorflow/serving', 'tags': ['latest']}
    """
    name, at, digest = reference.partition("@")
    if at:
        return {"image_name": name, "digests": [digest]}
    path, slash, last = reference.rpartition("/")  # a colon before is that of a registry's port
    name, _, tag = last.partition(":")
    return {"image_name": f"{path}{slash}{name}", "tags": [tag or "latest"]}


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
