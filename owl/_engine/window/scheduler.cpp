#include "scheduler.h"

#include <algorithm>

namespace owl {

Scheduler& scheduler() {
    static auto* instance = new Scheduler;
    return *instance;
}

// ------------------------------------------------------------------------------------------------------------- streams

RecordingStream* Scheduler::add_stream() {
    graph().mutex.assert_held();
    if (streams.size() >= sweep_at_ && compiling_.empty()) {  // what is left over goes back to its stream
        sweep_streams();
        sweep_at_ = 2 * streams.size() + 16;
    }
    RecordingStream* stream;
    if (spare_streams_.empty()) {
        stream = new RecordingStream;
    } else {
        stream = spare_streams_.back();
        spare_streams_.pop_back();
    }
    stream->id = streams_created_++;
    streams.push_back(stream);
    return stream;
}

void Scheduler::sweep_streams() {
    constexpr size_t kSpare = 1024;
    size_t kept = 0;
    for (RecordingStream* stream : streams) {
        if (stream->orphan) {
            purge_stream(stream);
            if (stream->open.empty() && stream->waiting.empty() && stream->rematerializable_nodes.empty()) {
                if (spare_streams_.size() < kSpare && stream->reset())
                    spare_streams_.push_back(stream);
                else
                    delete stream;
                continue;
            }
        }
        streams[kept++] = stream;
    }
    streams.resize(kept);
}

void Scheduler::purge_stream(RecordingStream* stream) {
    graph().mutex.assert_held();
    purge(stream, &stream->open);
    for (ClosedWindow& window : stream->waiting) {
        purge(stream, &window.nodes);
        window.known = false;  // its places are numbered anew
    }
    while (!stream->waiting.empty() && stream->waiting.front().nodes.empty()) stream->waiting.erase(stream->waiting.begin());
    purge_rematerializable(stream);
}

void Scheduler::purge_rematerializable(RecordingStream* stream) {
    size_t kept = 0;
    for (Node* node : stream->rematerializable_nodes) {
        if (node->state == State::recorded)
            stream->rematerializable_nodes[kept++] = node;
        else
            graph().unhold(node);
    }
    stream->rematerializable_nodes.resize(kept);
}

bool Scheduler::has_room(int bound) const {
    for (Executor* executor : executors)
        if (!executor->has_room(bound)) return false;
    return true;
}

int Scheduler::add_executor(std::unique_ptr<Executor> executor) {
    graph().mutex.assert_held();
    const int device = static_cast<int>(executors.size());
    graph().add_device(device, &executor->memory());
    executors.push_back(executor.release());
    return device;
}

void Scheduler::upload(Node* leaf, Buffer* staged) {
    graph().mutex.assert_held();
    Run* run = make_upload(leaf, staged, executors[leaf->runner]);
    if (await_dependencies(run)) run->executor->submit(run);
}

void Scheduler::fail_recorded(Failure* failure) {
    graph().mutex.assert_held();
    auto fail_window = [&](RecordingStream* stream, Window* nodes) {
        for (Node* node : *nodes) {
            node->waiters = nullptr;  // they belong to threads that are no more
            graph().fail(node, failure);
        }
        purge(stream, nodes);
    };
    for (RecordingStream* stream : streams) {
        fail_window(stream, &stream->open);
        stream->open_bytes = 0;
        for (ClosedWindow& window : stream->waiting) fail_window(stream, &window.nodes);
        stream->waiting.clear();
    }
}

// ------------------------------------------------------------------------------------------------------------- windows

void Scheduler::attend(RecordingStream* stream, bool cut_here) {
    graph().mutex.assert_held();
    stream->attention = false;
    while (!stream->waiting.empty() && stream->waiting.front().known && stream->waiting.front().settled())
        submit_first_waiting(stream, true, SubmitReason::settled);
    if (stream->cut) cut_window(stream);
    if (cut_here || stream->open.size() >= window_bounds().nodes.load() ||
        stream->open_bytes >= window_bounds().bytes.load()) {
        close_window(stream, &stream->open, cut_here ? CutReason::random : CutReason::bounds);
        stream->open_bytes = 0;
    }
}

// Cuts the open window at the place that the detector found.
void Scheduler::cut_window(RecordingStream* stream) {
    auto first = stream->open.end();
    // Adopted nodes have no place of their own; they go with what uses them.
    while (first != stream->open.begin() && ((*(first - 1))->position >= stream->cut || !(*(first - 1))->position)) --first;
    stream->note_cut(stream->cut);
    stream->cut = 0;
    Window older(stream->open.begin(), first);
    stream->open.erase(stream->open.begin(), first);
    stream->open_bytes = 0;
    for (const Node* node : stream->open) stream->open_bytes += node->bytes();
    close_window(stream, &older, CutReason::anchor);
    purge_rematerializable(stream);
}

// Closes a part of the open window: it waits until it has settled, at the latest until the next cut or until its executor
// has nothing to do.
void Scheduler::close_window(RecordingStream* stream, Window* nodes, CutReason cut) {
    ClosedWindow window;
    window.nodes.swap(*nodes);
    window.cut = cut;
    window.close(stream);
    liveness_.expect(&window);
    if (window.nodes.empty()) return;
    const bool idle = early_start && executors[window.nodes[0]->runner]->idle();
    stream->waiting.push_back(std::move(window));
    while (stream->waiting.size() > 1) submit_first_waiting(stream, true, SubmitReason::next_cut);
    if (idle) submit_first_waiting(stream, false, SubmitReason::idle);
}

void Scheduler::flush(RecordingStream* stream) {
    graph().mutex.assert_held();
    submit_all_waiting(stream, SubmitReason::wait_for_all);
    Window window;
    window.swap(stream->open);
    stream->open_bytes = 0;
    purge(stream, &window);
    purge_rematerializable(stream);
    window.insert(window.end(), stream->rematerializable_nodes.begin(), stream->rematerializable_nodes.end());
    stream->rematerializable_nodes.clear();
    sort_by_sequence(&window);
    submit(window, false, true, {CutReason::wait_for_all, SubmitReason::wait_for_all});
}

void Scheduler::submit_open_window(RecordingStream* stream) {
    graph().mutex.assert_held();
    submit_all_waiting(stream, SubmitReason::pause);
    if (stream->open.empty()) return;
    close_window(stream, &stream->open, CutReason::pause);
    stream->open_bytes = 0;
    submit_all_waiting(stream, SubmitReason::pause);
}

void Scheduler::on_idle() {
    Compilations work;
    {
        std::lock_guard<GraphLock> guard(graph().mutex);
        if (!early_start) return;
        for (RecordingStream* stream : streams) submit_all_waiting(stream, SubmitReason::idle);
        work.swap(to_compile_);
        for (auto& compilation : work) {
            compilation->behind = compilation->nodes.back()->stream;
            ++compilation->behind->compiling;
            release(compilation.get());  // before other threads describe their windows
        }
    }
    if (!work.empty() && !compile_thread_.take(&work)) compile(std::move(work));
}

void Scheduler::submit_all_waiting(RecordingStream* stream, SubmitReason reason) {
    while (!stream->waiting.empty()) submit_first_waiting(stream, false, reason);
}

// `ripe`: it waited as long as it may, so what is dead now will be dead next time, and is worth waiting for.
void Scheduler::submit_first_waiting(RecordingStream* stream, bool ripe, SubmitReason reason, uint32_t asked_at) {
    ClosedWindow window = std::move(stream->waiting.front());
    stream->waiting.erase(stream->waiting.begin());
    submit_window(stream, &window, ripe, {window.cut, reason, asked_at});
}

void Scheduler::submit_window(RecordingStream* stream, ClosedWindow* window, bool ripe, const SubmitCause& cause) {
    if (ripe) liveness_.remember(*window);
    if (history_.is_regular(purge(stream, &window->nodes)))
        return submit(window->nodes, cause.reason == SubmitReason::request, true, cause);
    for (size_t begin = 0; begin < window->nodes.size();) {
        const size_t end = chunk_end(window->nodes, begin);
        const Window chunk(window->nodes.begin() + static_cast<long>(begin), window->nodes.begin() + static_cast<long>(end));
        begin = end;
        submit(chunk, false, true, cause);
    }
}

// ------------------------------------------------------------------------------------------------------------ requests

namespace {

// The stream that recorded the newest of these; rematerializable values belong to rounds that are over.
RecordingStream* asking_stream(const Window& nodes) {
    for (size_t i = nodes.size(); i-- > 0;)
        if (!nodes[i]->rematerializable) return nodes[i]->stream;
    return nullptr;
}

}  // namespace

void Scheduler::request(Node* const* targets, int count, uint32_t asked_at) {
    graph().mutex.assert_held();
    const SubmitCause cause{CutReason::request, SubmitReason::request, asked_at};
    for (int k = 0; k < count; ++k) graph().pin(targets[k]);  // what is asked for is stored
    graph().ancestors(targets, count, &needed_);
    bool all_stands = true;  // nothing was submitted since the ancestors were looked for
    if (RecordingStream* stream = asking_stream(needed_)) {
        all_stands = !submit_waiting_ancestors(needed_, asked_at);
        if (stream->ends_with_request()) {
            // Each of the last rounds ended like this, so the round is complete: it goes as one plan.
            Window whole;
            whole.swap(stream->open);
            stream->open_bytes = 0;
            purge(stream, &whole);
            stream->note_request();
            submit(whole, true, true, cause);
            all_stands = false;
        } else {
            stream->note_request();
        }
    }
    if (!all_stands) graph().ancestors(targets, count, &needed_);
    submit(needed_, true, false, cause);
    for (int k = 0; k < count; ++k) graph().unpin(targets[k]);
}

// Waiting windows that hold something that is needed are submitted whole. Returns whether there were any.
bool Scheduler::submit_waiting_ancestors(const Window& nodes, uint32_t asked_at) {
    bool any = false;
    for (bool found = true; found;) {
        found = false;
        for (const Node* node : nodes) {
            if (node->state != State::recorded || node->rematerializable || !node->stream->waiting_window(node)) continue;
            submit_first_waiting(node->stream, false, SubmitReason::request, asked_at);
            any = found = true;
            break;
        }
    }
    return any;
}

void Scheduler::find_needed(Node* node, Window* nodes) {
    const ClosedWindow* window = node->stream->waiting_window(node);
    if (!window) return graph().ancestors(&node, 1, nodes);
    for (Node* other : window->nodes)
        if (other->state == State::recorded && other->stream == node->stream) nodes->push_back(other);
}

// ---------------------------------------------------------------------------------------------------------- submitting

// Submits recorded nodes, in the order of recording, each exactly once; each is held by the window that it lies in.
// `requested`: names of the user's still stand for values that will never be read, which may be left over. `unhold`: the
// caller's holds on the nodes are let go of.
void Scheduler::submit(const Window& nodes, bool requested, bool unhold, const SubmitCause& cause) {
    if (nodes.empty()) return;
    release_last();
    // A window of one device that needs nothing from elsewhere, as most are.
    if (canonical_.describe(nodes, graph().new_mark(), requested && fuse, stored_places)) {
        ++counters.windows;
        return submit_described(nodes, unhold, cause);
    }
    submit_in_parts(nodes, requested, cause);
    if (unhold)
        for (Node* node : nodes) graph().unhold(node);
}

void Scheduler::submit_in_parts(const Window& nodes, bool requested, const SubmitCause& cause) {
    uint64_t mark = graph().new_mark();
    Window fresh;
    bool complete = true;
    // A value left over by an earlier request may still stand in its window as well, and an earlier chunk of the same
    // window may have taken it along: each goes once.
    for (Node* node : nodes) {
        if (node->state != State::recorded || node->mark == mark) continue;
        node->mark = mark;
        fresh.push_back(node);
        for (uint32_t k = 0; k < node->n_inputs; ++k) {
            const Node* source = node->inputs()[k];
            if (source->mark != mark && source->state == State::recorded) complete = false;
        }
    }
    if (fresh.empty()) return;
    if (!complete) {
        // Something they need was recorded elsewhere: by another stream, or left over by an earlier plan.
        Window closure, before;
        graph().ancestors(fresh.data(), static_cast<int>(fresh.size()), &closure);
        mark = graph().new_mark();
        for (Node* node : fresh) node->mark = mark;
        for (Node* node : closure)
            if (node->mark != mark) before.push_back(node);
        bool interleaved = false;
        for (Node* node : before)
            for (uint32_t k = 0; k < node->n_inputs; ++k) interleaved = interleaved || node->inputs()[k]->mark == mark;
        // Streams that read one another's values within a window have no first among them.
        if (interleaved) return submit_by_device(closure, requested, cause);
        submit_by_device(before, requested, cause);
    }
    submit_by_device(fresh, requested, cause);
}

// A window across devices becomes one run per device and phase, where a phase ends with a transfer between devices. Runs
// are submitted phase by phase, in one order for the whole process, and wait on earlier ones only: no deadlock.
void Scheduler::submit_by_device(const Window& nodes, bool requested, const SubmitCause& cause) {
    ++counters.windows;
    if (std::all_of(nodes.begin(), nodes.end(), [&](const Node* node) { return node->runner == nodes[0]->runner; }))
        return submit_part(nodes, requested, cause);
    const uint64_t mark = graph().new_mark();
    std::vector<int> phases(nodes.size(), 0);
    int last_phase = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
        Node* node = nodes[i];
        node->mark = mark;
        node->index = static_cast<int32_t>(i);
        for (uint32_t k = 0; k < node->n_inputs; ++k) {
            const Node* source = node->inputs()[k];
            if (source->mark == mark)
                phases[i] = std::max(phases[i], phases[source->index] + (source->runner != node->runner));
        }
        last_phase = std::max(last_phase, phases[i]);
    }
    Window part;
    for (int phase = 0; phase <= last_phase; ++phase) {
        for (size_t device = 0; device < executors.size(); ++device) {
            part.clear();
            for (size_t i = 0; i < nodes.size(); ++i)
                if (phases[i] == phase && nodes[i]->runner == device && nodes[i]->state == State::recorded)
                    part.push_back(nodes[i]);
            if (!part.empty()) submit_part(part, false, cause);
        }
    }
}

// One device's nodes become a run.
void Scheduler::submit_part(const Window& nodes, bool requested, const SubmitCause& cause) {
    for (Node* node : nodes) {
        if (!node->rematerializable) continue;
        node->rematerializable = false;
        ++counters.recomputed;
        stored_places.add(node);
    }
    release_last();
    canonical_.describe(nodes, graph().new_mark(), requested && fuse, stored_places);
    submit_described(nodes, false, cause);
}

// The nodes that the key describes become a run.
void Scheduler::submit_described(const Window& nodes, bool unhold, const SubmitCause& cause) {
    counters.nodes += nodes.size();
    ++counters.plans;
    std::shared_ptr<Plan> plan = plans.find(canonical_);
    const uint64_t entry = trace.add(counters.windows, cause, plan, nodes);
    Run* run = make_run(canonical_, nodes, executors[nodes[0]->runner]);
    if (!plan) return begin_compilation(run, nodes, unhold, entry);
    count_plan(*plan, true);
    give_plan(run, nodes, std::move(plan));
    const bool ready = await_dependencies(run);
    leave_over(nodes, *run->plan);
    release_nodes(nodes, unhold);
    if (ready) run->executor->submit(run);
}

void Scheduler::count_plan(const Plan& plan, bool known) {
    counters.hits += known;
    counters.bytes_outside += plan.output_bytes;
    counters.bytes_inside += plan.arena_bytes;
}

// What the plan does not store is recorded again; unless it can no longer be seen, as may be once the plan was compiled.
void Scheduler::leave_over(const Window& nodes, const Plan& plan) {
    for (int32_t rematerializable : plan.rematerializable_nodes) {
        Node* node = nodes[rematerializable];
        if (!node->live()) continue;
        node->state = State::recorded;
        node->rematerializable = true;
        graph().hold(node);
        node->stream->rematerializable_nodes.push_back(node);
        ++counters.rematerializable_nodes;
    }
}

// The operations are under way and need what they read no longer. The last first: when a node's turn comes, those that read
// it have let go of it.
void Scheduler::release_nodes(const Window& nodes, bool unhold) {
    for (size_t i = nodes.size(); i-- > 0;) {
        Node* node = nodes[i];
        if (!node->rematerializable) {
            graph().release_inputs(node);
            if (!node->live() && !node->pins && !node->waiters) {  // it will never be seen outside the plan
                node->state = State::dead;
                ++counters.dead;
            }
        }
        if (unhold) graph().unhold(node);
    }
}

}  // namespace owl
