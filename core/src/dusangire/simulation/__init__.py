"""What simulated providers share: a memory, a clockwork, a faulty line, a phone and a control API.

A plugin's `simulator` hook makes a `Simulation`, answers its provider's paths with a Starlette
router, and gives both to `build_app`. Needs starlette, which core itself does not.
"""

from dusangire.simulation.app import build_app
from dusangire.simulation.line import Faults, HangUp
from dusangire.simulation.simulation import Settings, Simulation
from dusangire.simulation.transactions import Script, Status, Step, Transaction
from dusangire.simulation.webhooks import Delivery, Webhook

__all__ = [
    "Delivery",
    "Faults",
    "HangUp",
    "Script",
    "Settings",
    "Simulation",
    "Status",
    "Step",
    "Transaction",
    "Webhook",
    "build_app",
]
