"""What several files of tests look at."""

import pytest

from tests.tfx_pipeline.report_toys import make_whole


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A work directory with all that the report shows, and its page."""
    return make_whole(tmp_path_factory.mktemp("whole"))
