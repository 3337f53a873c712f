#include "execution.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "_engine/memory/memory.h"
#include "_engine/memory/reserve.h"
#include "fault.h"

namespace owl {

void Execution::let_go_of_failures() {
    for (auto* failures : {&owned_failures_, &held_failures_}) {
        for (Failure* failure : *failures) failure->release();
        failures->clear();
    }
}

std::vector<double> Execution::scalars_of(const Step& step) const {
    if (step.scalars_field < 0) return {};
    return {scalars_.begin() + step.first_scalar, scalars_.end()};
}

void Execution::abandon() {
    release_all(&result_.buffers);
    release_all(&own_);
    release_all(&kept_);
    if (arena_) arena_->release();
    arena_ = nullptr;
    let_go_of_failures();
}

void Execution::perform(Run* run) {
    enter();
    const bool fused = !run->upload && !by_values_ && plan_->has_arena;
    if (run->upload) {
        perform_upload(run);
    } else if (fused && (reserve(run, *plan_) || (wait_for_memory(run) && reserve(run, *plan_)))) {
        compute(run, *plan_);
    } else if (fused && is_reserve_spent() && !plan_->unfused) {
        fail_all(run, own(exhausted()));  // another plan would be more than there is memory for
    } else {
        use_unfused_form();
        compute_by_values(run, *plan_);
    }
    if (arena_) arena_->release();
    arena_ = nullptr;
    release_all(&kept_);
    leave();
}

void Execution::perform_upload(Run* run) {
    const size_t bytes = run->upload->bytes;
    Buffer*& target = result_.buffers[0];
    if (is_there(run->upload)) {
        target = run->upload->retain();
        return;
    }
    const Failure::Origin leaf{static_cast<uint16_t>(Op::leaf), run->sites[0]};
    target = upload_target(bytes);
    if (!target && wait_for_memory(run)) target = upload_target(bytes);
    if (!target) return fail_output(0, out_of_memory(bytes, memory(), {leaf}));
    if (!launch_upload(run->upload, target)) fail_output(0, refused({leaf}));
}

// Memory was refused. What is only kept for later goes back, and the runs before this one end and let go of theirs.
// Returns whether it is worth another try.
bool Execution::wait_for_memory(Run* run) {
    const bool had_scratch = release_scratch();
    memory().drop_cached();
    bool waited = false;
    leave();
    for (;;) {
        const uint64_t seen = progress().count();
        {
            std::lock_guard<GraphLock> guard(graph().mutex);
            if (must_stop() || !any_ahead_of(run)) break;
        }
        waited = true;
        pause_if_asked();
        progress().wait(seen, 50);
    }
    enter();
    return waited || had_scratch;
}

void Execution::use_unfused_form() {
    if (!plan_->has_arena) return;
    if (!plan_->unfused) plan_->unfused = unfused_form(*plan_, backend());
    plan_ = plan_->unfused.get();
}

bool Execution::bind(Run* run) {
    plan_ = run->plan.get();
    bool wanted = false;
    for (Node* node : run->outputs) wanted = wanted || is_seen(node);
    if (must_stop()) {
        fail_all(run, own(stop_reason()));
        return false;
    }
    if (!wanted) {
        fail_all(run, unseen());
        return false;
    }
    if (run->upload) return true;
    input_.assign(run->inputs.size(), nullptr);
    input_failure_.assign(run->inputs.size(), nullptr);
    kept_.assign(run->inputs.size(), nullptr);
    bool failed = false;
    for (size_t i = 0; i < run->inputs.size(); ++i) {
        Node* node = run->inputs[i];
        if (node->state == State::failed) {
            input_failure_[i] = node->failure;
            held_failures_.push_back(node->failure->retain());
            failed = true;
        } else {
            input_[i] = node->buffer;
            if (node->issued) kept_[i] = node->buffer->retain();
        }
    }
    by_values_ = failed;
    donated_.assign(run->inputs.size(), 0);
    for (const PlanOutput& output : plan_->outputs)
        if (output.donated_input >= 0) donated_[output.donated_input] = may_overwrite(run, output.donated_input);
    return true;
}

// Under the graph's lock. Only this run needs the value.
bool Execution::is_ours(const Node* node) { return !node->live() && node->pins == 1; }
bool Execution::may_overwrite(const Run* run, int32_t input) const {
    const Node* node = run->inputs[input];
    return node && is_ours(node) && node->buffer && node->buffer->exclusive(kept_[input] ? 2 : 1);
}

// All memory or none.
bool Execution::reserve(Run* run, const Plan& plan) {
    const bool reserved = reserve_outputs(plan) &&
                          (!plan.arena_bytes || (arena_ = memory().allocate(plan.arena_bytes))) &&
                          reserve_scratch(plan.scratch_bytes);
    if (reserved) return true;
    result_.buffers.resize(run->outputs.size());
    for (Buffer*& buffer : result_.buffers) let_go(&buffer);
    let_go(&arena_);
    return false;
}

// A value that is sent to the host lies in the host's memory.
Memory& Execution::memory_of(const Plan& plan, const PlanOutput& output) {
    return plan.nodes[output.node].pushed ? host_side() : memory();
}

bool Execution::reserve_outputs(const Plan& plan) {
    for (size_t k = 0; k < plan.outputs.size(); ++k) {
        const PlanOutput& output = plan.outputs[k];
        if (output.alias_input >= 0) {
            Buffer* buffer = input_[output.alias_input];
            result_.buffers[k] = buffer ? buffer->retain() : nullptr;
        } else if (output.alias_output >= 0) {
            result_.buffers[k] = result_.buffers[output.alias_output]->retain();
        } else if (output.donated_input >= 0 && donated_[output.donated_input]) {
            result_.buffers[k] = input_[output.donated_input]->retain();
        } else if (!(result_.buffers[k] = memory_of(plan, output).allocate(output.bytes))) {
            return false;
        }
    }
    return true;
}

void Execution::let_go(Buffer** buffer) {
    if (*buffer) (*buffer)->release();
    *buffer = nullptr;
}
void Execution::release_all(std::vector<Buffer*>* buffers) {
    for (Buffer*& buffer : *buffers) let_go(&buffer);
    buffers->clear();
}

char* Execution::address(const Slot& slot, bool transfer) {
    switch (slot.kind) {
        case Slot::input: return input_[slot.number] ? address_for(input_[slot.number], transfer) : nullptr;
        case Slot::output: return address_for(result_.buffers[slot.number], transfer);
        case Slot::own: return address_for(own_[slot.number], transfer);
        default: return address_for(arena_, transfer) + slot.offset;
    }
}

void Execution::compute(Run* run, Plan& plan) {
    begin_steps(run, plan);
    for (size_t i = compute_together(run, plan); i < plan.steps.size(); ++i) {
        Step& step = plan.steps[i];
        if (Failure* failure = reason_not_to(step, run, plan))
            fail_step(step, failure);
        else
            run_step(&step, run, plan);
    }
    fail_outputs(plan);
}

// Where nothing can keep a step from running: all inputs exist, as always where by_values_ is off. Returns how many steps were
// launched.
size_t Execution::compute_together(Run* run, Plan& plan) {
    const size_t count = faults_armed() || kernel_delay() ? 0 : steps_together(&plan);
    if (!count) return 0;
    pause_if_asked();
    if (must_stop()) return 0;
    for (size_t i = 0; i < count; ++i)
        if (!plan.steps[i].empty) give_arguments(&plan.steps[i], run, plan);
    const size_t launched = launch_together(plan) ? count : 0;
    plan.steps_together.store(static_cast<int32_t>(launched), std::memory_order_relaxed);
    return launched;
}

void Execution::begin_steps(Run* run, const Plan& plan) {
    scalars_.resize(plan.scalar_order.size());
    for (size_t i = 0; i < scalars_.size(); ++i) scalars_[i] = run->scalars[plan.scalar_order[i]];
    node_failure_.assign(plan.nodes.size(), nullptr);
}

void Execution::fail_step(const Step& step, Failure* failure) {
    for (int32_t i : step.operations) node_failure_[i] = failure;
}

void Execution::give_arguments(Step* step, const Run* run, const Plan& plan) {
    auto* args = reinterpret_cast<char*>(step->args.data());
    const bool transfer = plan.nodes[step->operations[0]].op == Op::to_device;
    for (const Patch& patch : step->patches) {
        char* pointer = address(plan.slots[patch.slot], transfer) + patch.offset;
        if (patch.argument >= 0) pointer += run->arguments[patch.argument] * static_cast<int64_t>(patch.item_size);
        std::memcpy(args + patch.field, &pointer, sizeof pointer);
    }
    for (const ArgumentPatch& patch : step->argument_patches)
        std::memcpy(args + patch.field, &run->arguments[patch.argument], sizeof(int64_t));
    if (step->scalars_field >= 0) {
        const double* scalars = scalars_.data() + step->first_scalar;
        if (step->scalars_inside)
            std::memcpy(args + step->scalars_field, scalars, sizeof(double) * static_cast<size_t>(step->scalars_inside));
        else
            std::memcpy(args + step->scalars_field, &scalars, sizeof scalars);
    }
}

void Execution::run_step(Step* step, Run* run, const Plan& plan) {
    if (const int delay = kernel_delay()) std::this_thread::sleep_for(std::chrono::microseconds(delay));
    if (step->empty) return;
    give_arguments(step, run, plan);
    if (!launch(*step, reinterpret_cast<char*>(step->args.data())))
        fail_step(*step, refused(origins(step->operations, run, plan)));
}

void Execution::fail_outputs(const Plan& plan) {
    for (size_t k = 0; k < plan.outputs.size(); ++k) {
        const Ref root = plan.root[plan.outputs[k].node];
        Failure* failure = root >= 0 ? node_failure_[root] : input_failure_[~root];
        if (failure) fail_output(k, failure);
    }
}

// ------------------------------------------------------------------------------------------------- value by value
//
// Where an input failed, or memory for the plan as a whole is refused: operation by operation, in the order of
// recording. A value gets its memory just before its operation and loses it after its last reader. So an operation
// fails only if there is no memory for its result beside what it reads and what the program can still see.

void Execution::compute_by_values(Run* run, Plan& plan) {
    begin_steps(run, plan);
    own_.assign(plan.own_bytes.size(), nullptr);
    for (size_t k = 0; k < plan.outputs.size(); ++k) {
        const int32_t input = plan.outputs[k].alias_input;
        if (input >= 0 && input_[input]) result_.buffers[k] = input_[input]->retain();
    }
    find_wanted(run, plan);
    for (Step& step : plan.steps) {
        Failure* failure = reason_not_to(step, run, plan);
        if (!failure) failure = is_wanted(step) ? make_room(step, run, plan) : unseen();
        if (failure)
            fail_step(step, failure);
        else
            run_step(&step, run, plan);
        end_values(step, run, plan);
    }
    release_all(&own_);
    fail_outputs(plan);
}

bool Execution::is_seen(const Node* node) { return node->live() || node->pins || node->waiters; }

Failure* Execution::unseen() {
    return own(new Failure(FailureKind::dropped, "the work was dropped: its result was no longer referenced"));
}

// What the program can still see, and what that is computed from.
void Execution::find_wanted(Run* run, const Plan& plan) {
    wanted_.assign(plan.nodes.size(), 0);
    {
        std::lock_guard<GraphLock> guard(graph().mutex);
        for (size_t k = 0; k < plan.outputs.size(); ++k)
            if (is_seen(run->outputs[k])) wanted_[plan.outputs[k].node] = 1;
    }
    for (size_t i = plan.nodes.size(); i-- > 0;) {
        if (!wanted_[i]) continue;
        for (Ref ref : plan.nodes[i].inputs)
            if (ref >= 0) wanted_[ref] = 1;
    }
}

bool Execution::is_wanted(const Step& step) const {
    for (int32_t i : step.operations)
        if (wanted_[i]) return true;
    return false;
}

// Memory for the values that this step makes, or why there is none.
Failure* Execution::make_room(const Step& step, Run* run, const Plan& plan) {
    for (int32_t number : step.begins) {
        const Slot& slot = plan.slots[number];
        const size_t bytes = slot.kind == Slot::own      ? plan.own_bytes[slot.number]
                             : slot.kind == Slot::output ? plan.outputs[slot.number].bytes
                                                         : 0;
        if (slot.kind == Slot::own) own_[slot.number] = memory().allocate(bytes);
        if (slot.kind == Slot::output) make_output(slot.number, run, plan);
        if (slot.kind == Slot::input || (slot.kind == Slot::own ? own_ : result_.buffers)[slot.number]) continue;
        take_back(step, plan);
        Memory& refusing = slot.kind == Slot::output ? memory_of(plan, plan.outputs[slot.number]) : memory();
        return out_of_memory(bytes, refusing, origins(step.operations, run, plan));
    }
    if (reserve_scratch(step.scratch_bytes)) return nullptr;
    take_back(step, plan);
    const size_t bytes = step.scratch_bytes * scratch_threads();
    return out_of_memory(bytes, host_memory(), origins(step.operations, run, plan));
}

void Execution::make_output(int32_t number, Run* run, const Plan& plan) {
    const PlanOutput& output = plan.outputs[number];
    Buffer* buffer = nullptr;
    if (output.donated_input >= 0) {
        std::lock_guard<GraphLock> guard(graph().mutex);
        if (may_overwrite(run, output.donated_input)) buffer = input_[output.donated_input]->retain();
    }
    if (!buffer) buffer = memory_of(plan, output).allocate(output.bytes);
    result_.buffers[number] = buffer;
    if (!buffer) return;
    for (size_t k = 0; k < plan.outputs.size(); ++k)
        if (plan.outputs[k].alias_output == number) result_.buffers[k] = buffer->retain();
}

void Execution::take_back(const Step& step, const Plan& plan) {
    for (int32_t number : step.begins) {
        const Slot& slot = plan.slots[number];
        if (slot.kind == Slot::own) let_go(&own_[slot.number]);
        if (slot.kind != Slot::output) continue;
        let_go(&result_.buffers[slot.number]);
        for (size_t k = 0; k < plan.outputs.size(); ++k)
            if (plan.outputs[k].alias_output == slot.number) let_go(&result_.buffers[k]);
    }
}

// Lets go of the values that this step was the last to read, unless they are needed elsewhere. A device that computes later
// has not read and written other memories yet: these stay until the run ends.
void Execution::end_values(const Step& step, Run* run, const Plan& plan) {
    std::lock_guard<GraphLock> guard(graph().mutex);
    for (int32_t number : step.ends) {
        const Slot& slot = plan.slots[number];
        if (slot.kind == Slot::own) {
            let_go(&own_[slot.number]);
        } else if (slot.kind == Slot::output) {
            Buffer* buffer = result_.buffers[slot.number];
            if (buffer && lies_here(buffer) && !is_seen(run->outputs[slot.number])) fail_output(slot.number, unseen());
        } else if (Node* node = run->inputs[slot.number]; node && is_ours(node) && lies_here(node->buffer)) {
            graph().unpin(node);
            run->inputs[slot.number] = nullptr;
            input_[slot.number] = nullptr;
            let_go(&kept_[slot.number]);
        }
    }
}

// Why a value does not exist. A transpose that its reader has absorbed is no step's; it fails as its input does.
Failure* Execution::failure_of(Ref ref, const Plan& plan) const {
    for (;;) {
        const Ref root = ref >= 0 ? plan.root[ref] : ref;
        if (root < 0) return input_failure_[~root];
        if (node_failure_[root] || plan.nodes[root].op != Op::transpose) return node_failure_[root];
        ref = plan.nodes[root].inputs[0];
    }
}

// A step does not run if something it reads does not exist, if a fault was ordered, or if the executor is to stop.
Failure* Execution::reason_not_to(const Step& step, Run* run, const Plan& plan) {
    pause_if_asked();
    if (step.continues) return node_failure_[step.operations[0]];
    for (int32_t i : step.operations) {
        for (Ref ref : plan.nodes[i].inputs)
            if (Failure* failure = failure_of(ref, plan)) return failure;
    }
    if (faults_armed()) {
        FailureKind kind;
        for (int32_t i : step.operations)
            if (take_fault(plan.nodes[i].op, &kind)) return injected(kind, origins(step.operations, run, plan));
    }
    return must_stop() ? own(stop_reason()) : nullptr;
}

std::vector<Failure::Origin> Execution::origins(const std::vector<int32_t>& operations, Run* run, const Plan& plan) {
    std::vector<Failure::Origin> found;
    for (int32_t i : operations) found.push_back({static_cast<uint16_t>(plan.nodes[i].op), run->sites[i]});
    return found;
}

Failure* Execution::injected(FailureKind kind, std::vector<Failure::Origin> origins) {
    auto* failure = new Failure(kind, kind == FailureKind::out_of_memory ? "out of memory" : "a fault was injected");
    failure->origins = std::move(origins);
    return own(failure);
}

Failure* Execution::refused(std::vector<Failure::Origin> origins) {
    auto* failure = new Failure(FailureKind::device, launch_error());
    failure->origins = std::move(origins);
    return own(failure);
}

// One for all: there is no memory to tell more.
Failure* Execution::exhausted() {
    static Failure* const failure = [] {
        auto* shared = new Failure(FailureKind::out_of_memory, "out of memory: the system gives no more");
        shared->observed.store(true);
        return shared;
    }();
    return failure->retain();
}

Failure* Execution::out_of_memory(size_t bytes, Memory& refusing, std::vector<Failure::Origin> origins) {
    if (is_reserve_spent()) return own(exhausted());
    const MemoryInfo info = refusing.info();
    Failure* failure = injected(FailureKind::out_of_memory, std::move(origins));
    failure->message = "out of memory: " + std::to_string(bytes) + " bytes were asked for, " +
                       std::to_string(info.in_use) + " are in use, " +
                       (info.limit ? "the limit is " + std::to_string(info.limit) : "the system gives no more");
    return failure;
}

Failure* Execution::own(Failure* failure) {
    owned_failures_.push_back(failure);
    return failure;
}
void Execution::fail_output(size_t k, Failure* failure) {
    if (result_.buffers[k]) result_.buffers[k]->release();
    result_.buffers[k] = nullptr;
    result_.failures[k] = failure;
}
void Execution::fail_all(Run* run, Failure* failure) {
    for (size_t k = 0; k < run->outputs.size(); ++k) fail_output(k, failure);
}

}  // namespace owl
