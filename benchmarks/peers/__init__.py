"""What is measured against what: this project and the frameworks it is compared with.

One file a peer; `interface.Peer` is all that a new one has to provide, beside a line in PEERS.
"""

from __future__ import annotations

from importlib import import_module

from peers.interface import Job, Peer

__all__ = ["OURS", "PEERS", "Job", "Peer", "PeerMissingError", "load"]

OURS = "alexnet"
PEERS = {
    OURS: ("peers.alexnet", "pip install ."),
    "torch": ("peers.torch", 'pip install ".[peers]"'),
}


class PeerMissingError(Exception):
    """A framework is not installed; the message says how to get it."""


def load(name: str, threads: int) -> Peer:
    """Start a framework in this process. One only: two OpenMP runtimes disturb each other."""
    module, install = PEERS[name]
    try:
        return import_module(module).PEER(threads)
    except ModuleNotFoundError as error:
        raise PeerMissingError(f"{name} is not installed ({error}); {install}") from error
