"""The manifests against Kubernetes' schemas, and what they say against what is so elsewhere in the project."""

import copy
import json
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format

from preprocessing.errors import UserError
from serving.deploy.render import MANIFESTS, STOCK_IMAGE, Versions, main, manifests, model_config, render
from serving.deploy.sizing import Size
from serving.flavours import SCANN, STOCK

ROOT = Path(__file__).parents[2]
IMAGE = "registry.test/tf-serving-scann:2.16.1"
CARD = {"items": 1_000_000, "dimension": 64, "index": {"kind": "tree", "flavour": STOCK}}
RELEASES = ("1.31.0", "1.37.0")


def stock(**changes):
    return render(Size.of(CARD), STOCK_IMAGE, Versions(**{"stable": 3, **changes}))


def of_kind(rendered, kind):
    (document,) = [each for _, each in rendered if each["kind"] == kind]
    return document


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("documents", [list(manifests()), stock(canary=4)], ids=["as they are", "rendered"])
def test_the_manifests_fit_the_schemas(documents, release):
    assert {each["kind"] for _, each in documents} == {
        "ConfigMap", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy",
    }  # fmt: skip
    for _, document in documents:
        kubernetes_validate.validate(document, release, strict=True)


def test_the_check_finds_what_is_wrong():
    deployment = of_kind(stock(), "Deployment")
    for change in ({"minReadySecond": 3}, {"minReadySeconds": "three"}):
        wrong = copy.deepcopy(deployment)
        wrong["spec"].update(change)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, RELEASES[0], strict=True)


def test_names_labels_and_ports_meet():
    rendered = stock()
    deployment = of_kind(rendered, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind(rendered, "Service")["spec"]["selector"] == labels
    assert of_kind(rendered, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert of_kind(rendered, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind(rendered, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "mtmh"
    assert "replicas" not in deployment["spec"]

    pod = deployment["spec"]["template"]["spec"]
    server = pod["containers"][0]
    ports = {each["name"]: each["containerPort"] for each in server["ports"]}
    assert f"--port={ports['grpc']}" in server["args"]
    assert f"--rest_api_port={ports['rest']}" in server["args"]
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"] == {"path": "/v1/models/mtmh/metadata", "port": "rest"}
    allowed = [rule["ports"][0]["port"] for rule in of_kind(rendered, "NetworkPolicy")["spec"]["ingress"]]
    assert allowed == [ports["grpc"], ports["rest"]]
    volumes = {each["name"] for each in pod["volumes"]}
    for container in (server, *pod["initContainers"]):
        assert {each["name"] for each in container["volumeMounts"]} <= volumes
        assert container["securityContext"]["readOnlyRootFilesystem"]
    config = of_kind(rendered, "ConfigMap")
    for name in ("models.config", "monitoring.config", "tls.sh"):
        assert name in config["data"]
        assert any(f"/etc/mtmh/{name}" in text for text in [*server["args"], *pod["initContainers"][0]["command"]])


@pytest.mark.parametrize(
    ("flavour", "versions", "path", "labels", "numbers"),
    [
        (SCANN, Versions(3), "/models/mtmh", {"stable": 3}, [3]),
        (STOCK, Versions(3, 4), "/models/mtmh-stock", {"stable": 3, "canary": 4}, [3, 4]),
        (STOCK, Versions(4, held=(3,)), "/models/mtmh-stock", {"stable": 4}, [3, 4]),
        (STOCK, Versions(4, 4), "/models/mtmh-stock", {"stable": 4, "canary": 4}, [4]),
    ],
)
def test_tf_serving_reads_the_model_config(flavour, versions, path, labels, numbers):
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    written = model_config(flavour, versions)
    (config,) = text_format.Parse(written, ModelServerConfig()).model_config_list.config
    assert (config.name, config.base_path, dict(config.version_labels)) == ("mtmh", path, labels)
    assert list(config.model_version_policy.specific.versions) == numbers


def test_the_committed_config_is_a_rendered_one():
    example = of_kind(manifests(), "ConfigMap")["data"]["models.config"]
    assert example == model_config(SCANN, Versions(1))


def test_the_tls_script_writes_what_tf_serving_reads(tmp_path):
    script = of_kind(manifests(), "ConfigMap")["data"]["tls.sh"]
    (tmp_path / "tls.sh").write_text(script)
    for name in ("tls.key", "tls.crt", "ca.crt"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----\nab/+=\n-----END {name}-----\n")
    output = tmp_path / "ssl.config"
    subprocess.run(["bash", tmp_path / "tls.sh", tmp_path, output], check=True)
    assert output.stat().st_mode & 0o077 == 0
    # A text proto's strings are escaped as JSON's are, here.
    fields = dict(line.split(": ", 1) for line in output.read_text().splitlines())
    for field, name in (("server_key", "tls.key"), ("server_cert", "tls.crt"), ("custom_ca", "ca.crt")):
        assert json.loads(fields[field]) == (tmp_path / name).read_text()
    assert fields["client_verify"] == "true"


def test_memory_grows_with_the_model_and_the_versions_held():
    size = Size.of(CARD)
    # 4 + 2 tables of 256 MB, 400 MB of text and 17 MB of the encoder.
    assert size.version_bytes == 6 * 256_000_000 + 417_000_000
    assert Size(1_000_000, 64, "exact", STOCK).version_bytes == 4 * 256_000_000 + 417_000_000
    assert Size(1_000_000, 64, "tree", SCANN).version_bytes == size.version_bytes + 32_000_000
    assert size.pod_bytes(3) - size.pod_bytes(2) > size.version_bytes
    assert Size(1, 1, "exact", STOCK).pod_bytes(1) >= (400 << 20) + (256 << 20)  # the process, and its requests


def size_in(text):
    """Bytes of "204 MiB" or "1.8 GiB"."""
    number, unit = text.split()
    return float(number) * {"MiB": 1 << 20, "GiB": 1 << 30}[unit]


def test_the_documents_say_what_the_sizing_reckons():
    rows = re.findall(r"^\| ([\d,]+), `(\w+)` (\w+) \|(.*)\|$", (ROOT / "docs/serving.md").read_text(), re.MULTILINE)
    assert len(rows) >= 4
    for items, flavour, kind, cells in rows:
        size = Size(int(items.replace(",", "")), 64, kind, flavour)
        version, one, swap = map(size_in, cells.split("|"))
        assert version == pytest.approx(size.version_bytes, rel=0.03)
        assert (one, swap) == (size.pod_bytes(1), size.pod_bytes(2))
    text = (ROOT / "docs/performance.md").read_text()
    shard, whole = Size(6_250_000, 64, "tree", SCANN), Size(10_000_000, 64, "tree", SCANN)
    assert f"16 shards of 6.25 · 10⁶ items | {shard.version_bytes / 2**30:.1f} GiB a version" in text
    assert f"a pod of {shard.pod_bytes(2) / 2**30:.1f} GiB" in text
    assert f"a version of {whole.version_bytes / 2**30:.1f} GiB" in text


def test_a_canary_restarts_no_pod():
    plain = stock()
    memory = f"{Size.of(CARD).pod_bytes(2) >> 20}Mi"
    server = of_kind(plain, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert server["resources"] == {"requests": {"cpu": "2", "memory": memory}, "limits": {"memory": memory}}
    for changes in ({"canary": 4}, {"stable": 4, "held": (3,)}):
        changed = stock(**changes)
        differ = {before["kind"] for (_, before), (_, after) in zip(plain, changed, strict=True) if before != after}
        assert differ == {"ConfigMap"}
    assert of_kind(stock(canary=4, held=(2,)), "Deployment") != of_kind(plain, "Deployment")
    for wrong in (-1, 2**63):
        with pytest.raises(UserError, match=f"version {wrong}"):
            stock(canary=wrong)


def test_the_scann_flavour_needs_the_image_with_its_op():
    card = {**CARD, "index": {"kind": "tree", "flavour": SCANN}}
    with pytest.raises(UserError, match="has no ScaNN op"):
        render(Size.of(card), STOCK_IMAGE, Versions(1))
    deployment = of_kind(render(Size.of(card), IMAGE, Versions(1)), "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


def test_the_command_writes_files_that_can_be_applied(tmp_path, capsys):
    card = tmp_path / "mtmh.json"
    card.write_text(json.dumps(CARD))
    arguments = ["--card", str(card), "--stable", "3", "--canary", "4", "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == sorted(
        each.name for each in MANIFESTS.glob("*.yaml")
    )
    assert list(manifests(tmp_path / "out")) == stock(canary=4)
    for cpus in ("abc", "-1", "0", "0.0", "2 ", "1.5m", ""):
        assert main([*arguments, f"--cpus={cpus}"]) == 2
        assert f"--cpus {cpus}: expected processors" in capsys.readouterr().err
    for cpus in ("4", "0.5", "10", "500m"):
        assert main([*arguments, f"--cpus={cpus}"]) == 0
    assert main([*arguments[:-1], str(card)]) == 2
    said = capsys.readouterr().err
    assert f"{card} cannot be written to" in said
    assert "model card" not in said
    for wrong in ("{}", "[", "[]"):
        card.write_text(wrong)
        assert main(arguments) == 2
        assert "model card" in capsys.readouterr().err


def test_images_are_of_the_versions_that_the_lock_holds():
    lock = (ROOT / "requirements.lock").read_text()
    serving = re.search(r"^tensorflow-serving-api==(\S+)", lock, re.MULTILINE)[1]
    scann = re.search(r"^scann==(\S+)", lock, re.MULTILINE)[1]
    recipe = (ROOT / "serving/deploy/tf_serving_scann/Dockerfile").read_text()
    assert f"ARG TF_SERVING_VERSION={serving}\n" in recipe
    assert f"= '### {scann}'" in recipe
    assert f"tensorflow/serving:{serving}" == STOCK_IMAGE
    for _, document in manifests():
        for image in re.findall(r"image: (\S+)", yaml.safe_dump(document)):
            assert image == STOCK_IMAGE
    for name in re.findall(r"^COPY (?!--)(\S+)", recipe, re.MULTILINE):
        assert (ROOT / "serving/deploy/tf_serving_scann" / name).is_file()
