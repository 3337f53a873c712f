"""Counters of what lives natively are taken at once: where no run is left, its nodes and buffers are gone."""

import owl
import owl.testing


def test_no_nodes_are_counted_beside_no_runs():
    device = owl.testing.remote_device()  # its runs end late, on a thread of their own
    before = owl.testing.settle()
    with device:
        for _ in range(300):
            x = owl.ones([8]) + 1
            x.start_eval()
            del x
            while (now := owl.testing.counters())["runs"] > before["runs"]:
                pass
            assert now["nodes"] == before["nodes"]
            assert now["buffers"] == before["buffers"]
