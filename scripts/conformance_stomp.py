"""Cases of STOMP 1.0, 1.1 and 1.2 over a WebSocket, written from the specifications. Started by `scripts/conformance`.

They register themselves as their modules are imported, one for each topic.
"""

import sys

from conformance import run
from stomp_cases import (  # noqa: F401  pylint: disable=unused-import
    handshake, identity, heartbeats, subscriptions, resuming, acknowledgements, sends, transactions, frames, limits, ending,
)

if __name__ == "__main__":
    sys.exit(run("STOMP"))
