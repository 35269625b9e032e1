"""Optimizers over the parameters of a network, updated in place by the operators.

Weight decay acts on arrays named "weight" only: biases and batch norm's gamma and beta have none,
as in cuda-convnet's and Caffe's AlexNet. It is an L2 term, `weight_decay` times the weight added to
the gradient, in both rules. Under SGD that shrinks a weight by the factor 1 - learning_rate *
weight_decay a step. Adam divides it by the size of the gradient along with the rest, so that a
weight with a small gradient shrinks by up to `learning_rate` itself: the default there is none.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np

from alexnet import graphs
from alexnet.arrays import Array, array_kind
from alexnet.contract.arguments import (
    AnyArray,
    check_assignable,
    check_callable,
    check_instance,
    check_int,
)
from alexnet.contract.calls import check_adam_numbers, check_sgd_numbers
from alexnet.contract.names import ExplainsNames, explaining_arguments
from alexnet.messages import shown, summarised
from alexnet.network.network import Network
from alexnet.network.parameter_memory import ParameterMemory
from alexnet.network.state import Update

LOSS_SCALE = "loss_scale"

Observer: TypeAlias = Callable[[str, Array, Array, Array], None]


class _Part(NamedTuple):
    """Parameters, gradients and slots that are updated alike, and the parameters' copy."""

    decays: bool
    arrays: list[Array]
    copy: Array


class Optimizer(ExplainsNames, ABC):
    """Arrays of the shapes of a network's parameters, and a step that uses them.

    `learning_rate` may be changed between steps: that is all a schedule does.

    Threads: a step waits until no other thread runs the network, and RuntimeError says where one
    has changed it since the gradients' forward. `copy.copy` gives an optimizer of the same network
    with settings, steps and arrays of its own; `copy.deepcopy` and `pickle` copy the network too,
    `pickle` while no other thread trains it.
    """

    rule: ClassVar[str]  # the operator's name without "_update"
    slots: ClassVar[tuple[str, ...]]

    def __init__(
        self, network: Network, *, learning_rate: float, weight_decay: float = 0.0
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(
                f"{type(self).__name__}: network is {shown(network)}, expected a Network, whose "
                "parameters it changes"
            )
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.steps = 0
        self._network = network
        self._make_slots()

    def _make_slots(self) -> None:
        self._arrays = array_kind(self._network.implementation)
        shapes = self._network.variant.parameter_shapes()
        self._memory = [ParameterMemory(self._arrays, shapes) for _ in self.slots]
        self._slots = {
            f"{slot}.{name}": array
            for slot, memory in zip(self.slots, self._memory, strict=True)
            for name, array in memory.arrays.items()
        }

    def __repr__(self) -> str:
        settings = {name: value for name, value in vars(self).items() if name[0] != "_"}
        return summarised(self, f"of {self._network.variant.name}", **settings)

    @property
    def network(self) -> Network:
        """The network whose parameters it changes."""
        return self._network

    def step(self, observer: Observer | None = None) -> None:
        """Update every parameter by the gradients of the network's last backward in this thread.

        `observer`, if given, is called with the name of each parameter, a copy of it from before,
        its gradient, and the parameter itself.

        Raises
        ------
        RuntimeError
            Another thread has changed the network since this thread's forward, the gradients are
            another thread's, or there are none: no backward, and `gradients` was never asked for.
        TypeError, ValueError
            A setting is not what it may be; nothing was changed.
        """
        if isinstance(observer, Mapping):
            raise TypeError(
                f"{type(self).__name__}: step takes no gradients, since the network has those of "
                "its last backward: call step()"
            )
        check_callable(type(self).__name__, "observer", observer)
        with self._network.guard.changing:
            update = self._network.begin_update()
            arrays = update.parameters.arrays.items()
            before = {} if observer is None else {name: array.copy() for name, array in arrays}
            self._begin_step()
            operators = self._network.implementation
            for part in self._parts(update):
                settings = self._settings(part.decays)
                if part.copy is None:
                    getattr(operators, f"{self.rule}_update")(*part.arrays, **settings)
                else:
                    given = (part.arrays, part.copy, update.overflow)
                    self._cuda.update(self.rule, settings, *given)
            self._network.end_update(update)
            if observer is not None:
                for name, array in arrays:
                    observer(name, before[name], update.gradients.arrays[name], array)

    def step_in_graph(self, loss: Array) -> None:
        """Do what `step` does as part of a CUDA graph's work (`alexnet.graphs`).

        Only that on the device nothing changes where `loss` is not finite: whoever reads it then
        calls `take_back`.
        """
        cuda = self._cuda
        with self._network.guard.changing:
            update = self._network.begin_update()
            graphs.each_time(self._begin_step)
            for part in self._parts(update):
                numbers = graphs.numbers(partial(self._rounded, part.decays), np.float32)
                given = (part.arrays, part.copy, update.overflow)
                cuda.update_by_numbers(self.rule, numbers, loss, *given)
            self._network.end_update(update, loss)

    @property
    def _cuda(self) -> Any:
        return import_module("alexnet.cuda.optimizer")

    def _rounded(self, decays: bool) -> tuple[float, ...]:
        """Give the numbers of the step as the kernel takes them from memory."""
        numbers: tuple[float, ...] = self._cuda.step_numbers(self.rule, self._settings(decays))
        return numbers

    def take_back(self) -> None:
        """Do not count the last step, which has changed nothing."""
        self.steps -= 1

    def _begin_step(self) -> None:
        self._check_settings()
        self.steps += 1

    @property
    def decays(self) -> bool:
        """Whether weights and other parameters are updated differently."""
        return self.weight_decay != 0

    def _parts(self, update: Update) -> list[_Part]:
        """Find what is updated alike."""
        memories = (update.parameters, update.gradients, *self._memory)
        copies = update.copies
        if not self.decays:
            whole = None if copies is None else copies.whole
            return [_Part(False, [memory.whole for memory in memories], whole)]
        weights = None if copies is None else copies.weights
        others = None if copies is None else copies.others
        return [
            _Part(True, [memory.weights for memory in memories], weights),
            _Part(False, [memory.others for memory in memories], others),
        ]

    @abstractmethod
    def _check_settings(self) -> None:
        """TypeError or ValueError for a setting that is not what it may be."""

    @abstractmethod
    def _settings(self, decays: bool) -> dict[str, float]:
        """Keyword arguments of the update, in its order, for parameters that decay or don't."""

    def state_dict(self) -> dict[str, AnyArray]:
        """Return all that a resume needs: the steps taken, and arrays such as "velocity.fc8.bias".

        NumPy arrays of their own, which later steps leave alone. Of a network in float16, the state
        of its loss scale as well: "loss_scale".
        """
        with self._network.guard.reading:
            slots = {
                name: np.array(self._arrays.to_host(array)) for name, array in self._slots.items()
            }
            scale = self._network.loss_scale
            scaling = {} if scale is None else {LOSS_SCALE: scale.state}
            return {"steps": np.array(self.steps, np.int64), **slots, **scaling}

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Continue from what `state_dict` gave, all or nothing.

        A loss scale may be missing, which leaves that of a network in float16 as it is, and is of
        no effect on others.

        Raises
        ------
        ValueError
            It is of another optimizer or network, or the steps are no count; nothing was changed.
        TypeError
            It is no mapping, or what is in it no array, or a masked one; nothing was changed.
        """
        kind = type(self).__name__
        check_instance(kind, "state", state, Mapping)
        if state.keys() - {LOSS_SCALE} != {"steps", *self._slots}:
            raise ValueError(f"{kind}: the state's arrays are not those of this network and rule")
        for name, array in self._slots.items():
            check_assignable(kind, name, state[name], array)
        check_assignable(kind, "steps", state["steps"], np.empty((), np.int64))
        steps = check_int(kind, "steps", int(state["steps"]), 0, 2**63 - 1)
        scale = self._network.loss_scale if LOSS_SCALE in state else None
        if scale is not None:
            scale.check(kind, LOSS_SCALE, state[LOSS_SCALE])
        with self._network.guard.changing:
            self.steps = steps
            if scale is not None:
                scale.restore(state[LOSS_SCALE])
            for name, array in self._slots.items():
                array[...] = self._arrays.from_host(state[name])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        with self._network.guard.reading:  # network and arrays are of one step
            copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        made = ("_arrays", "_memory", "_slots")
        settings = {name: value for name, value in vars(self).items() if name not in made}
        return {**settings, "state": self.state_dict()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update({name: value for name, value in state.items() if name != "state"})
        self._make_slots()
        self.load_state_dict(state["state"])


@explaining_arguments
class SGD(Optimizer):
    """Stochastic gradient descent with momentum; see `alexnet.sgd_update`."""

    rule = "sgd"
    slots = ("velocity",)

    def __init__(
        self,
        network: Network,
        *,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(network, learning_rate=learning_rate, weight_decay=weight_decay)
        self.momentum = momentum
        self._check_settings()

    def _check_settings(self) -> None:
        check_sgd_numbers("SGD", self.learning_rate, self.momentum, self.weight_decay)

    def _settings(self, decays: bool) -> dict[str, float]:
        return {
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay if decays else 0.0,
        }


@explaining_arguments
class Adam(Optimizer):
    """Adam with bias correction (Kingma and Ba 2015); see `alexnet.adam_update`."""

    rule = "adam"
    slots = ("first_moment", "second_moment")

    def __init__(
        self,
        network: Network,
        *,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(network, learning_rate=learning_rate, weight_decay=weight_decay)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self._check_settings()

    def _check_settings(self) -> None:
        check_adam_numbers(
            "Adam", self.learning_rate, self.beta1, self.beta2, self.epsilon, self.weight_decay
        )

    def _settings(self, decays: bool) -> dict[str, float]:
        return {
            "step": self.steps,
            "learning_rate": self.learning_rate,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
            "weight_decay": self.weight_decay if decays else 0.0,
        }
