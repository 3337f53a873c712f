// From windows to runs: closing, waiting until it is known what lives on, splitting by device, finding or compiling the
// plan, submitting. It decides nothing of when and for whom: that is owl/_scheduler's, in Cython.
#pragma once
#include "_engine/plan/plan_cache.h"
#include "_engine/record/stream.h"
#include "_engine/run/executor.h"
#include "_engine/run/trace.h"
#include "compilation.h"
#include "history.h"
#include "liveness.h"

namespace owl {

struct SchedulerCounters {
    uint64_t windows = 0, plans = 0, hits = 0;
    uint64_t nodes = 0;           // submitted
    uint64_t dead = 0;            // never computed
    uint64_t rematerializable_nodes = 0;       // not stored
    uint64_t recomputed = 0;      // rematerializable values that were read after all
    uint64_t bytes_outside = 0;   // stored outside plans
    uint64_t bytes_inside = 0;    // arenas
};

// One for the process. Everything is guarded by the graph's lock, and all methods but on_idle() and compile() expect it to be
// held. Those that submit leave plans to compile: the caller lets go of the lock by unlock_and_compile().
class Scheduler final : public IdleListener {
   public:
    std::vector<RecordingStream*> streams;  // of threads and tasks that recorded, and of those that ended with work left
    std::vector<Executor*> executors;       // by device; never destroyed: their threads run until the end
    PlanCache plans;
    StoredPlaces stored_places;
    Trace trace;
    SchedulerCounters counters;
    bool early_start = true;  // closed windows stop waiting when their executor is idle
    bool fuse = true;

    // --- streams
    RecordingStream* add_stream();
    // Lets go of what a stream need not hold any more.
    void purge_stream(RecordingStream* stream);
    // Whether every device has room for one more run, where `bound` runs ahead are many for a CPU.
    bool has_room(int bound) const;

    // --- recording goes on
    // Submits closed windows that have settled, cuts where the detector said, and keeps the bounds. `cut_here`: ends the
    // open window whatever it holds.
    void attend(RecordingStream* stream, bool cut_here);

    // --- values are requested
    // What the targets need and nothing else is submitted; the rest stays recorded. `asked_at`: the line that asks.
    void request(Node* const* targets, int count, uint32_t asked_at);
    // Submits all that a stream has recorded, to be waited for.
    void flush(RecordingStream* stream);
    // Submits a stream's windows, the open one included: the recording pauses.
    void submit_open_window(RecordingStream* stream);
    // What a request for a recorded node would submit.
    void find_needed(Node* node, Window* nodes);

    // --- compiling
    // Lets go of the graph's lock, and compiles what was submitted under it.
    void unlock_and_compile();
    // Without the lock.
    void compile(Compilations work);
    // Whether one of the first `number` plans is still being compiled.
    bool any_compiling_within(uint64_t number) const;
    void forget_compile_thread();  // in a forked child

    // --- devices
    // Takes over an executor; returns its device's number.
    int add_executor(std::unique_ptr<Executor> executor);
    // Fills a leaf that was recorded without a value, on a device that has a memory of its own. Takes over the reference to
    // what was staged.
    void upload(Node* leaf, Buffer* staged);
    // Nothing that was closed needs to wait any longer.
    void on_idle() override;

    // In a forked child: what was recorded in the parent's threads will never be computed.
    void fail_recorded(Failure* failure);

   private:
    void sweep_streams();
    void purge_rematerializable(RecordingStream* stream);
    void close_window(RecordingStream* stream, Window* nodes, CutReason cut);
    void cut_window(RecordingStream* stream);
    bool submit_waiting_ancestors(const Window& nodes, uint32_t asked_at);
    void submit_all_waiting(RecordingStream* stream, SubmitReason reason);
    void submit_first_waiting(RecordingStream* stream, bool ripe, SubmitReason reason, uint32_t asked_at = 0);
    void submit_window(RecordingStream* stream, ClosedWindow* window, bool ripe, const SubmitCause& cause);
    void submit(const Window& nodes, bool requested, bool unhold, const SubmitCause& cause);
    void submit_in_parts(const Window& nodes, bool requested, const SubmitCause& cause);
    void submit_by_device(const Window& nodes, bool requested, const SubmitCause& cause);
    void submit_part(const Window& nodes, bool requested, const SubmitCause& cause);
    void submit_described(const Window& nodes, bool unhold, const SubmitCause& cause);
    void count_plan(const Plan& plan, bool known);
    void leave_over(const Window& nodes, const Plan& plan);
    void release_nodes(const Window& nodes, bool unhold);
    void begin_compilation(Run* run, const Window& nodes, bool unhold, uint64_t entry);
    void release(Compilation* compilation);
    void release_last();
    void decide(Compilation& compilation, const std::shared_ptr<Plan>& plan, bool known);

    LivenessHistory liveness_;
    WindowHistory history_;
    Canonical canonical_;  // of the nodes at hand; kept for its room, as is the next
    Window needed_;
    Compilations to_compile_;           // once the lock is let go of
    std::vector<uint64_t> compiling_;   // numbers of plans
    CompileThread compile_thread_{this};
    std::vector<RecordingStream*> spare_streams_;  // tasks come and go, their streams' room stays
    uint64_t streams_created_ = 0;
    size_t sweep_at_ = 16;  // streams; tasks may come and go by the thousand, and each sweep looks at all of them
};

Scheduler& scheduler();  // never destroyed: daemon threads may submit when static destructors run

}  // namespace owl
