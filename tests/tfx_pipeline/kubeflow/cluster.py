"""A cluster that pipelines are compiled for."""

CLUSTER = [
    "kubeflow.image=registry/mtmh:1",
    "kubeflow.trainer_gpus=1",
    "kubeflow.trainer_memory=16G",
    "kubeflow.environment=[AWS_ENDPOINT_URL=http://minio:9000]",
    "kubeflow.secrets=[AWS_SECRET_ACCESS_KEY=mlpipeline-minio-artifact/secretkey]",
    "loss.relevance=0.25",
]
