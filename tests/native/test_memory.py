"""The pool against a model, and the bounded map against another."""

import itertools
import threading
from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

MEBIBYTE = 1 << 20
sizes = st.one_of(st.integers(0, 600), st.integers(0, 4 * MEBIBYTE))


def test_the_pool_hands_out_what_a_model_of_it_hands_out(native):
    class Pool(RuleBasedStateMachine):
        blocks = Bundle("blocks")

        def __init__(self):
            super().__init__()
            self.pool = native.Pool()
            self.held = {}
            self.limit = 0
            self.peak = 0

        @rule(target=blocks, bytes=sizes)
        def allocate(self, bytes):
            before = self.pool.info()["in_use"]
            block = self.pool.allocate(bytes)
            after = self.pool.info()["in_use"]
            if block is None:
                assert self.limit
                # An eighth is lost to size classes, or a cache line.
                assert before + max(bytes, 64) * 9 // 8 + 64 > self.limit
                assert after == before
                return None
            assert not self.limit or after <= self.limit
            assert bytes <= after - before <= max(64, bytes * 9 // 8 + 64)
            assert block.bytes == bytes
            assert block.address % 64 == 0
            self.held[block.address] = (block, after - before)
            self.peak = max(self.peak, after)
            return block.address

        @rule(address=consumes(blocks))
        def release(self, address):
            if address is not None:
                del self.held[address]

        @rule(bytes=st.one_of(st.just(0), st.integers(1, 16 * MEBIBYTE)))
        def limit_to(self, bytes):
            self.pool.set_limit(bytes)
            self.limit = bytes

        @rule()
        def trim(self):
            self.pool.trim()
            assert self.pool.info()["cached"] == 0
            self.peak = self.pool.info()["in_use"]

        @invariant()
        def agrees(self):
            info = self.pool.info()
            assert info["in_use"] == sum(capacity for _, capacity in self.held.values())
            assert info["peak"] == self.peak
            assert info["in_use"] + info["cached"] <= max(2 * self.peak + 64 * MEBIBYTE, info["in_use"])
            spans = sorted((address, address + capacity) for address, (_, capacity) in self.held.items())
            assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))

        def teardown(self):
            self.held.clear()

    run_state_machine_as_test(Pool)


@given(bytes=st.integers(1, 4 * MEBIBYTE))
def test_a_block_that_was_given_back_is_the_next_of_its_size(native, bytes):
    pool = native.Pool()
    block = pool.allocate(bytes)
    address = block.address
    del block
    assert pool.info()["cached"] > 0
    assert pool.allocate(bytes).address == address


def test_a_size_that_no_machine_has_is_refused(native):
    pool = native.Pool()
    assert pool.allocate(1 << 47) is None
    assert pool.info()["in_use"] == 0


def test_threads_may_share_a_pool(native):
    pool = native.Pool()
    damaged = []
    threads = [threading.Thread(target=lambda seed=seed: damaged.append(pool.churn(seed, 50_000))) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert damaged == [0] * 4
    assert pool.info()["in_use"] == 0


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=80), capacity=st.integers(1, 8))
def test_the_bounded_map_drops_what_was_used_longest_ago(native, steps, capacity):
    entries, model = native.Lru(capacity), OrderedDict()
    for at, (put, key) in enumerate(steps):
        if put:
            if key not in model and len(model) == capacity:
                model.popitem(last=False)
            model[key] = at
            entries.put(key, at)
        assert entries.get(key) == model.get(key)
        if key in model:
            model.move_to_end(key)
        assert len(entries) == len(model)
