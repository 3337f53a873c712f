"""Does on owl what a trace says."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import Sequence
from typing import Any

import owl
from owl.testing.fuzz.trace import Step
from owl.testing.fuzz.worlds import OwlWorld


@functools.cache
def devices() -> tuple[owl.Device, owl.Device]:
    return owl.create_cpu_device(), owl.create_cpu_device()


class _Scaling(OwlWorld):
    """Of an update `x - scale * y` it makes what is to be subtracted."""

    def binary(self, name: str, x: owl.NArray, y: owl.NArray) -> owl.NArray:
        return y


class Player:
    """Does on owl what a trace says, and returns what it saw: arrays, or the names of failures."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop
        self.world = OwlWorld()
        self.arrays: dict[int, owl.NArray] = {}
        self.kept: list[owl.NArray] = []

    def look(self, array: owl.NArray) -> Any:
        try:
            return array.to_numpy()
        except owl.OwlError as error:
            return type(error).__name__

    def step(self, step: Step, seen: list[Any]) -> None:
        arrays = self.arrays
        if step.kind == "make":
            assert step.call is not None
            arrays[step.target] = step.call(self.world, [arrays[i] for i in step.inputs])
        elif step.kind == "update":
            x, y = (arrays[i] for i in step.inputs)
            assert step.call is not None
            scaled = step.call(_Scaling(), [x, y])
            x -= scaled
        elif step.kind == "drop":
            del arrays[step.target]
        elif step.kind == "keep":
            self.kept.append(arrays[step.target].copy())
        elif step.kind == "cycle":
            loop: list[Any] = [arrays[step.target] + 1.0]
            loop.append(loop)
        elif step.kind == "look":
            seen.append(self.look(arrays[step.target]))
        elif step.kind == "start":
            arrays[step.target].start_eval()
        elif step.kind == "device":
            owl.set_device(devices()[step.target])
        elif step.kind == "collect":
            gc.collect()
        else:
            seen += (self.in_threads if step.kind == "threads" else self.in_tasks)(step.strands)

    def in_threads(self, strands: Sequence[Sequence[Step]]) -> list[Any]:
        seen: list[list[Any]] = [[] for _ in strands]
        failures: list[BaseException] = []
        device = owl.get_device()

        def body(number: int) -> None:
            try:
                owl.set_device(device)
                for step in strands[number]:
                    self.step(step, seen[number])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=body, args=(number,)) for number in range(len(strands))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return [value for values in seen for value in values]

    def in_tasks(self, strands: Sequence[Sequence[Step]]) -> list[Any]:
        async def body(strand: Sequence[Step]) -> list[Any]:
            seen: list[Any] = []
            for step in strand:
                self.step(step, seen)
                await asyncio.sleep(0)
            return seen

        async def main() -> list[list[Any]]:
            return await asyncio.gather(*(body(strand) for strand in strands))

        assert self.loop is not None
        return [value for values in self.loop.run_until_complete(main()) for value in values]

    def play(self, trace: Sequence[Step]) -> list[Any]:
        seen: list[Any] = []
        for step in trace:
            self.step(step, seen)
        gc.collect()
        return seen + [self.look(array) for _, array in sorted(self.arrays.items())] + [self.look(x) for x in self.kept]
