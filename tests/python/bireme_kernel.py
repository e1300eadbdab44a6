"""Fixtures that install the real kernel into a Jupyter of our own, with a home of its own."""

import pytest


@pytest.fixture
def bireme_kernel(home, install_kernel):
    """The name of the installed kernel. Its cluster has two engines and ends with the test."""
    environment = {"BIREME_HOME": home.path, "BIREME_CLUSTER_ENGINES": "2"}
    argv = [home.binary, "kernel", "-f", "{connection_file}"]
    return install_kernel("bireme", argv, environment=environment)
