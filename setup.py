"""Packaging of MTMH. The versions that are tested together stand in requirements.lock; here are the ranges."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGES = ("preprocessing", "trainer", "serving", "tfx_pipeline")

# TFX 1.16, ScaNN 1.3.2 and TFRS share the binary interface of TensorFlow 2.16, hence the narrow ranges.
REQUIREMENTS = [
    "tensorflow>=2.16.2,<2.17",
    "tf-keras>=2.16.0,<2.17",  # the Keras that TFRS and TFX are written for
    "tensorflow-recommenders>=0.7.7,<0.8",  # tasks, retrieval layers
    "scann>=1.3.2,<1.3.3",  # the index; 1.3.3 is built on TensorFlow 2.17
    "tfx[kfp]>=1.16.0,<1.17",  # the pipeline, here and on Kubeflow
    "tensorflow-data-validation>=1.16.1,<1.17",  # drift and schema of the data gate
    "tensorflow-metadata>=1.16.1,<1.17",  # its schemas and statistics
    "tensorflow-transform>=1.16,<1.17",  # the features' graph
    "ml-metadata>=1.16,<1.17",  # what the local runner knows of earlier runs
    "tensorflow-serving-api>=2.16.1,<2.17",  # messages of PredictionService and ModelService
    "apache-beam[dill,gcp]>=2.74.0,<2.75",  # the preprocessing; dill, which TFX's libraries expect of Beam
    "setuptools<81",  # pkg_resources, which TFX's libraries import
    "google-api-core<2.28",  # kfp 2.5
    "google-cloud-aiplatform<1.75",  # kfp 2.5
    "protobuf>=3.20.3,<4",  # what TFX 1.16 admits; our minimal messages in a private pool
    "grpcio>=1.60",  # server and client
    "grpcio-health-checking>=1.48.2,<1.49",  # health service; its later ones need protobuf 4
    "aiohttp>=3.9,<4",  # REST
    "prometheus-client>=0.20,<1",  # the model server's metrics
    "kfp>=2.5,<2.6",  # submitting to Kubeflow Pipelines; TFX 1.16 admits no newer one
    "kfp-server-api>=2.0.5,<2.1",  # its errors
    "urllib3>=1.26,<3",  # its errors, too
    "botocore>=1.36,<2",  # boto3's errors
    "boto3>=1.36,<2",  # models and artifacts on s3://, AWS' or MinIO's; Beam's s3:// too
    "google-cloud-storage>=2.14,<3",  # models on gs://
    "google-crc32c>=1.5,<2",  # TFRecord checksums without TensorFlow
    "numpy>=1.26,<2",
    "scipy>=1.12,<2",  # sparse category sets in the evaluation
    "scikit-learn>=1.5,<2",  # the lsa teacher
    "onnxruntime>=1.17,<2",  # the onnx teacher
    "tokenizers>=0.19,<1",  # the onnx teacher
    "pyarrow>=10,<11",  # Parquet input; TFX 1.16 admits no newer one
    "pyarrow-hotfix>=0.6,<1",  # closes the hole of old pyarrow that files could run code through
    "pandas>=1.5,<2",  # the demo's data; TFX 1.16 admits no newer one
    "pyyaml>=6,<7",  # configuration
    "rich>=13",  # tables on the terminal
    "tqdm>=4.66,<5",  # progress
    "implicit>=0.7.3,<0.8",  # the ItemKNN baseline
    "gensim>=4.3,<5",  # the item2vec baseline
    "optuna>=4,<6",  # mtmh tune
    "sqlalchemy>=2,<3",  # the errors of Optuna's storage
    "tensorboard>=2.16,<2.17",  # HParams page and projector
    "matplotlib>=3.8,<4",  # pictures of the frontier and of the report
    "jinja2>=3.1,<4",  # the report's page, with escaping
    "threadpoolctl>=3.1,<4",  # one BLAS thread where sums must be the same on every machine
]

DEVELOPMENT = [
    "cryptography>=42",  # certificates for the tests of TLS
    "flask>=3,<4",  # moto's server
    "flask-cors>=6,<7",  # moto's server
    "gcp-storage-emulator>=2026",  # a local server of GCS' protocol
    "grpc-stubs>=1.53",
    "hypothesis>=6.100,<7",
    "kubernetes-validate>=1.31",  # the schemas that serving/deploy's manifests are checked against
    "moto[s3]>=5.1,<6",  # a local server of S3's protocol
    "mypy>=1.10",
    "packaging>=24",
    "pip>=24",
    "playwright>=1.50,<2",  # the report in a real browser
    "pytest>=8",
    "pytest-timeout>=2.3,<3",
    "pytest-xdist>=3.6,<4",  # the suite on every core
    "ruff>=0.6",
    "types-protobuf>=3.20,<4",
    "types-PyYAML>=6,<7",
    "types-tqdm>=4.66,<5",
    "uv>=0.5",
]

# Not in the lock: hnswlib comes as source alone.
BENCHMARKS = [
    "hnswlib>=0.8,<0.9",  # the same vectors in other libraries, see benchmarks/rivals.py
    "faiss-cpu>=1.8,<2",
]

README = Path(__file__).with_name("README.md")

setup(
    name="mtmh",
    version="0.1.0",
    description="Item-to-item retrieval with a dial between recall and semantic relevance: "
    "one encoder, two heads, one ScaNN index behind the TensorFlow Serving API",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    keywords="recommender retrieval item-to-item tensorflow tfx scann",
    python_requires="==3.10.*",
    packages=find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
    package_data={
        **{name: ["py.typed"] for name in ("preprocessing", "trainer", "serving")},
        "serving.deploy": ["README.md", "kubernetes/*", "tf_serving_scann/*"],
        "serving.server": ["explorer_page/*"],
        "tfx_pipeline": ["py.typed", "templates/*.j2", "schemas/*.pbtxt"],
    },
    install_requires=REQUIREMENTS,
    extras_require={"dev": DEVELOPMENT, "bench": BENCHMARKS},
    entry_points={"console_scripts": ["mtmh = tfx_pipeline.cli:main"]},
    zip_safe=False,
)
