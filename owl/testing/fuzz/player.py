"""Does on owl what a trace says."""

from __future__ import annotations

import _thread
import asyncio
import functools
import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import owl
import owl.aio
import owl.testing
from owl import elewise
from owl.testing.fuzz.trace import Step
from owl.testing.fuzz.worlds import OwlWorld, devices

LATE = 0.0003  # seconds after which promised values come


class Halfway(Exception):
    """Stands for an error of the program itself, between two operations."""


def _record_wrongly(x: owl.NArray, way: int) -> None:
    """Begins to record, and fails."""
    y = elewise.tanh(x + 1.0)
    z = y * 2.0
    if way == 0:
        raise Halfway
    if way == 1:
        owl.concat([z, z.reshape([*z.shape, 1])], 0)
    elif way == 2:
        z.reshape([z.size + 1])
    else:
        y += owl.zeros([*z.shape, 2])


def _start_thread(body: Callable[[], object]) -> Callable[[], object]:
    """Runs `body` in a thread of its own; what is returned waits for its end.

    `threading.Thread.start` waits until the thread has come to run, which on a busy machine takes as long as a program.
    """
    ended = _thread.allocate_lock()
    ended.acquire()
    bodies = [body]

    def run() -> None:
        try:
            bodies.pop()()  # when it is said to have ended, the thread holds no array any more
        finally:
            ended.release()

    _thread.start_new_thread(run, ())
    return ended.acquire


class Player:
    """Plays a trace once. What it saw are arrays, or names of failures."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop
        self.world = OwlWorld()
        self.arrays: dict[int, owl.NArray] = {}
        self.kept: list[owl.NArray] = []
        self.errors: list[Exception] = []  # their tracebacks hold arrays
        self.ends: list[Callable[[], object]] = []  # of threads: each waits for one

    def look(self, array: owl.NArray, way: int = 0) -> Any:
        try:
            if way == 6:
                return np.asarray(array.count_zero())
            return np.asarray(float(array.sum())) if way == 7 else array.to_numpy()
        except owl.OwlError as error:
            return type(error).__name__

    def step(self, step: Step, seen: list[Any]) -> None:
        arrays = self.arrays
        if step.kind == "make":
            assert step.call is not None
            arrays[step.target] = step.call(self.world, [arrays[i] for i in step.inputs])
        elif step.kind == "update":
            self.update(step)
        elif step.kind == "drop":
            dropped = [arrays.pop(step.target)]
            if step.way:
                self.ends.append(_start_thread(dropped.clear))
        elif step.kind == "keep":
            self.kept.append(arrays[step.target] if step.way else arrays[step.target].copy())
        elif step.kind == "cycle":
            loop: list[Any] = [arrays[step.target] + 1.0]
            loop.append(loop)
        elif step.kind == "look":
            seen.append(self.look(arrays[step.target], step.way))
        elif step.kind == "start":
            arrays[step.target].start_eval()
        elif step.kind == "await":
            self.wait_for(step, seen)
        elif step.kind == "wait":
            owl.wait_for_all()
        elif step.kind == "device":
            owl.set_device(devices()[step.target])
        elif step.kind == "team":
            owl.set_num_threads(step.way)
        elif step.kind == "collect":
            gc.collect()
        elif step.kind == "error":
            self.fail(step)
        elif step.kind == "promise":
            self.promise(step)
        else:
            seen += (self.in_threads if step.kind == "threads" else self.in_tasks)(step.strands)

    def update(self, step: Step) -> None:
        x, y = (self.arrays[i] for i in step.inputs)
        if step.way == 0:
            x -= y * step.number
        elif step.way == 1:
            x += y * step.number
        else:
            x *= step.number

    def fail(self, step: Step) -> None:
        try:
            _record_wrongly(self.arrays[step.target], step.way)
        except (owl.OwlError, Halfway) as error:
            if step.number:
                self.errors.append(error)
        else:
            raise AssertionError("recording something wrong raised nothing")

    def promise(self, step: Step) -> None:
        assert step.call is not None
        values = step.call(self.world, [])
        promise = owl.testing.promise(values.shape[::-1], dtype=values.dtype)
        self.arrays[step.target] = promise.array

        def fulfil() -> None:
            time.sleep(LATE * step.way)
            try:
                promise.fulfil(values)
            except owl.OwlError as error:
                promise.fail(str(error))

        self.ends.append(_start_thread(fulfil))

    def wait_for(self, step: Step, seen: list[Any]) -> None:
        """What awaiting is without an event loop."""
        x = self.arrays[step.target]
        if step.way in (0, 3, 4):
            try:
                x.wait_for_eval()
            except owl.OwlError:
                pass
            seen.append(self.look(x))
        elif step.way in (1, 2):
            x.start_eval()
        else:
            owl.wait_for_all()

    async def wait_for_in_task(self, step: Step, seen: list[Any]) -> None:
        x, y = (self.arrays[i] for i in step.inputs)
        if step.way in (0, 3, 4):
            seen.append(await self.arrived(x, y, step.way))
        elif step.way == 1:
            x.eval()
        elif step.way == 2:
            task = asyncio.ensure_future(self.arrived(x, y, 0))
            await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
        elif step.way == 5:
            await owl.aio.ready()
        else:
            await owl.aio.wait_for_all()

    async def arrived(self, x: owl.NArray, y: owl.NArray, way: int) -> Any:
        try:
            if way == 4:
                return await owl.aio.to_numpy(x)
            if way == 3:
                x, y = await owl.aio.gather(x, y)
            else:
                x = await x
        except owl.OwlError:
            pass  # of y, perhaps
        return self.look(x)

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

        for end in [_start_thread(functools.partial(body, number)) for number in range(len(strands))]:
            end()
        if failures:
            raise failures[0]
        return [value for values in seen for value in values]

    def in_tasks(self, strands: Sequence[Sequence[Step]]) -> list[Any]:
        async def body(strand: Sequence[Step]) -> list[Any]:
            seen: list[Any] = []
            for step in strand:
                if step.kind == "await":
                    await self.wait_for_in_task(step, seen)
                else:
                    self.step(step, seen)
                await asyncio.sleep(0)
            return seen

        async def main() -> list[list[Any]]:
            return await asyncio.gather(*(body(strand) for strand in strands))

        assert self.loop is not None
        return [value for values in self.loop.run_until_complete(main()) for value in values]

    def play(self, trace: Sequence[Step], seed: int) -> list[Any]:
        owl.set_device(devices()[0])
        owl.seed(seed)
        was = owl.get_num_threads()
        try:
            seen: list[Any] = []
            for step in trace:
                self.step(step, seen)
            gc.collect()
            shown = [array for _, array in sorted(self.arrays.items())] + self.kept
            # What is left is asked for one by one, or at once, or together; the first takes by far the longest.
            if seed % 3 == 1:
                owl.wait_for_all()
            elif seed % 3 == 2:
                owl.aio.gather(*shown)
            return seen + [self.look(array) for array in shown]
        finally:
            for end in self.ends:
                end()
            if owl.get_num_threads() != was:
                owl.set_num_threads(was)
