// What the tests below Python's API put in the place of a device: a backend that keeps what the planner decided, and an
// executor whose runs end when a test says so.
#pragma once
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>

#include "_engine/memory/memory.h"
#include "_engine/window/scheduler.h"

namespace owl {

// The system's memory, and a pool of its own.
class PlainMemory final : public Memory {
   public:
    PlainMemory() : Memory(true, machine_memory(), true) {}
    std::string download(const Buffer* from, void* to, size_t bytes) override {
        memcpy(to, from->data, bytes);
        return {};
    }

   private:
    void* obtain(size_t bytes) override {
        void* data = nullptr;
        return posix_memalign(&data, 64, bytes) ? nullptr : data;
    }
    void give_back(void* data, size_t) override { std::free(data); }
};

// Makes no steps, and keeps fusion and placement of the last plan.
class KeepingBackend final : public Backend {
   public:
    mutable Fusion fusion;
    mutable Placement placement;

    FusionRules rules() const override { return {}; }
    void lower(Plan*, const Fusion& made, const Placement& placed) const override {
        fusion = made;
        placement = placed;
    }
};

class ManualExecutor final : public Executor {
   public:
    std::deque<Run*> queue;
    KeepingBackend keeping;

    const Backend& backend() const override { return keeping; }
    Memory& memory() override { return host_memory(); }
    Buffer* stage(size_t bytes) override { return host_memory().allocate(bytes); }
    bool has_room(int bound) override { return backlog() < bound; }
    void submit(Run* run) override { queue.push_back(run); }
    int backlog() override { return static_cast<int>(queue.size()); }
    bool idle() override { return false; }
    void abort() override {}
    void quiesce() override {}
    void freeze() override {}
    void resume(bool) override {}

    // Under the graph's lock. Ends the first run, with values or with a failure.
    void finish_first(bool fail) {
        Run* run = queue.front();
        queue.pop_front();
        RunResult result;
        Failure* failure = fail ? new Failure(FailureKind::injected, "told to fail") : nullptr;
        for (const Node* output : run->outputs) {
            result.buffers.push_back(fail ? nullptr : host_memory().allocate(output->bytes()));
            result.failures.push_back(failure);
        }
        finish_run(run, &result);
        recycle_run(run);
        if (failure) {
            failure->observed.store(true);
            failure->release();
        }
    }
};

// A number for each node, wherever it is recorded: what a detector looks at.
struct Recorded {
    uint64_t signature = 0;
    uint64_t bytes = 0;
    std::vector<int> reads;   // places of earlier ones; at most kInlineInputs
    bool requested = false;  // a request came before it
};

// Where a detector that is fed with these cuts the stream; 0 where it does not. Places count from 1.
inline std::vector<uint64_t> detect(Detector* detector, const std::vector<Recorded>& recorded) {
    std::vector<Node> nodes(recorded.size());
    std::vector<uint64_t> cuts;
    for (size_t i = 0; i < nodes.size(); ++i) {
        Node* node = &nodes[i];
        node->signature = recorded[i].signature;
        node->n_bytes = recorded[i].bytes;
        for (int read : recorded[i].reads) node->inline_input[node->n_inputs++] = &nodes[static_cast<size_t>(read)];
        if (recorded[i].requested) detector->request();
        cuts.push_back(detector->feed(node));
    }
    return cuts;
}

}  // namespace owl
