from tests.runs.conftest import finished, same_images  # noqa: F401
