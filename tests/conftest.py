"""Fixtures that several areas use, each defined in `tests/support/`."""

pytest_plugins = ("tests.support.docker", "tests.support.postgres", "tests.support.redis", "tests.support.cluster")
