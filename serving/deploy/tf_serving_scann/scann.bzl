"""ScaNN as a part of TF Serving's build: its sources, and those of its dependencies that TensorFlow does not bring."""

load("@bazel_tools//tools/build_defs/repo:git.bzl", "git_repository")

def scann_repositories():
    native.local_repository(
        name = "com_google_scann",
        path = "/scann/scann",
    )
    native.local_repository(
        name = "local_config_tf",
        path = "third_party/scann/tf",
    )
    git_repository(
        name = "com_google_highway",
        remote = "https://github.com/google/highway.git",
        tag = "1.2.0",
    )
    git_repository(
        name = "cnpy",
        commit = "57184ee0db37cac383fc29175950747a46a8b512",
        remote = "https://github.com/sammymax/cnpy.git",
    )
