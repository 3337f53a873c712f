#include "issuing_executor.h"

#include <algorithm>

namespace owl {
namespace {
constexpr int kRunsAhead = 16;     // as many are issued before recording waits
constexpr size_t kShareAhead = 4;  // and what they store is at most a fourth of the device's memory
}  // namespace

bool IssuingExecutor::has_room(int bound) {
    const int planned = planned_.load(std::memory_order_acquire);
    return !planned || (planned < std::max(bound, kRunsAhead) &&
                        planned_bytes_.load(std::memory_order_relaxed) < memory().total() / kShareAhead);
}

void IssuingExecutor::submit(Run* run) {
    if (run->plan) {
        planned_.fetch_add(1, std::memory_order_release);
        planned_bytes_.fetch_add(run->plan->output_bytes, std::memory_order_relaxed);
    }
    ThreadedExecutor::submit(run);
}

void IssuingExecutor::forget() {
    planned_.store(0);
    planned_bytes_.store(0);
}

void IssuingExecutor::execute(Run* run) {
    result_.buffers.assign(run->outputs.size(), nullptr);
    result_.failures.assign(run->outputs.size(), nullptr);
    {
        std::lock_guard<GraphLock> guard(graph().mutex);
        run->begun = true;
        if (!bind(run)) {
            count_end_of(run);
            finish_run(run, &result_);
            let_go_of_failures();
            return recycle_run(run);
        }
    }
    begin_run(run);
    perform(run);
    {
        std::lock_guard<GraphLock> guard(graph().mutex);
        issue_run(run, &result_, memory());
        let_go_of_failures();
    }
    result_.buffers.clear();
    mark_end(run);
}

void IssuingExecutor::end(Run* run, Failure* failure) {
    std::lock_guard<GraphLock> guard(graph().mutex);
    count_end_of(run);
    before_end(run, failure);
    if (failure) {
        fail_run(run, failure);
        if (failure->refs.load() == 1) failure->observed.store(true);  // no value is left that it could be told of
        failure->release();
    } else {
        finish_run(run);
    }
    recycle_run(run);
}

void IssuingExecutor::count_end_of(const Run* run) {
    count_end();
    if (!run->plan) return;
    planned_.fetch_sub(1, std::memory_order_release);
    planned_bytes_.fetch_sub(run->plan->output_bytes, std::memory_order_relaxed);
}

}  // namespace owl
