#include "state.h"

#include <unistd.h>

namespace owl {
namespace cuda {

State& state() {
    static State& only = *new State;
    return only;
}

std::vector<CUctx_st*>& context_stack() {
    thread_local std::vector<CUctx_st*> stack;
    return stack;
}

bool forked() {
    const pid_t process = state().initialized;
    return process && process != getpid();
}

void State::add_problem(const std::string& text) {
    constexpr size_t kMost = 100;
    if (problems.size() < kMost) problems.push_back(text);
}

bool State::skips_wait(const char* symbol) {
    ++waits;
    return (skipped_symbol.empty() || skipped_symbol == symbol) && skipped_wait.hit();
}

Result admit(State& now, const char* symbol, Needs needs) {
    const uint64_t count = ++now.calls[symbol];
    auto& failures = now.failures[symbol];
    for (auto failure = failures.begin(); failure != failures.end(); ++failure) {
        if (failure->call != count) continue;
        const Result code = failure->code;
        failures.erase(failure);
        return code;
    }
    if (needs == Needs::nothing) return kSuccess;
    if (!now.initialized) return kNotInitialized;
    if (now.sticky) return now.sticky;
    return needs == Needs::context && !current_context() ? kInvalidContext : kSuccess;
}

}  // namespace cuda
}  // namespace owl
