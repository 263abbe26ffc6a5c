"""For who writes a gateway, or tests against one: the contract, a fake gateway, a faulty line.

    pip install "dusangire[testing]"

Assertions in the contract are rewritten by pytest, so that a failure shows what was compared.
"""

import pytest

# Before the first import of them, or pytest is too late.
pytest.register_assert_rewrite("dusangire.testing.contract")

from dusangire.testing.contract import GatewayContract  # noqa: E402
from dusangire.testing.fake import FakeConfig, FakeGateway  # noqa: E402
from dusangire.testing.line import Line  # noqa: E402
from dusangire.testing.promises import Promise, promise_table  # noqa: E402
from dusangire.testing.rig import serve  # noqa: E402
from dusangire.testing.stand import Case, Stand, payer  # noqa: E402

__all__ = [
    "Case",
    "FakeConfig",
    "FakeGateway",
    "GatewayContract",
    "Line",
    "Promise",
    "Stand",
    "payer",
    "promise_table",
    "serve",
]
