"""The node behind the module's own functions: one for all ASAs of the process."""

from __future__ import annotations

import atexit
import threading
from typing import Any

from grasp.api import Node
from grasp.calls import Calls
from grasp.errors import ErrorCode, LocalError
from grasp.limits import Limits
from grasp.rfc8991.callbacks import Callbacks
from grasp.rfc8991.functions import Functions


class DefaultNode(Functions):
    """Starts its node when the first ASA registers, and stops it when the process exits."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._node: Node | None = None
        self._arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def configure(self, *arguments: Any, **options: Any) -> None:
        """Say how the node is made: the arguments of :class:`grasp.Node`. Before :func:`register_asa`.

        Without it the node works on all interfaces and any port. ``limits.workers`` bounds the pending
        callbacks. Raises :class:`LocalError` ``badArgument``, also while the node runs
        (:func:`shutdown` first), and TypeError for an argument :class:`grasp.Node` does not know.
        """
        with self._lock:
            if self._node is not None:
                raise LocalError(ErrorCode.badArgument, "the node is in use; shutdown() first")
            Node(*arguments, **options)
            self._arguments = arguments, options
            self._callbacks = Callbacks((options.get("limits") or Limits()).workers)

    def shutdown(self) -> None:
        """Deregister every ASA and stop the node; calls that wait return ``stopped``. Idempotent.

        Pending callbacks are called before it returns (it waits for 5 s at most). The next
        :func:`register_asa` starts a new node, with the same arguments unless :func:`configure` changes
        them. Happens by itself when the process exits.
        """
        with self._lock:
            node, self._node, self._calls = self._node, None, None
            if node is None:
                return
            atexit.unregister(self.shutdown)
            node.stop()
            callbacks = self._callbacks
        callbacks.join()

    def _start(self) -> Calls:
        with self._lock:
            if self._node is None:
                positional, named = self._arguments
                self._node = Node(*positional, **named).start()
                self._calls = self._node.calls
                atexit.register(self.shutdown)
            return self._node.calls
