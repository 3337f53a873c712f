#include "accesses.h"

#include <algorithm>

#include "calls.h"
#include "kernels/accesses.h"

namespace owl {
namespace cuda {
namespace {

// Bytes of one buffer. Outputs that may be written over an input are that input.
struct Access {
    int32_t buffer;
    size_t first, last;
    bool written;
};

constexpr int32_t kArena = -1;

int32_t buffer_of(const Plan& plan, const Slot& slot) {
    const auto inputs = static_cast<int32_t>(plan.inputs.size());
    if (slot.kind == Slot::arena) return kArena;
    if (slot.kind == Slot::input) return slot.number;
    const int32_t donated = plan.outputs[static_cast<size_t>(slot.number)].donated_input;
    return donated >= 0 ? donated : inputs + slot.number;
}

template <class Args>
std::vector<bool> written_fields(const std::vector<uint64_t>& args) {
    auto copy = *reinterpret_cast<const Args*>(args.data());
    std::vector<bool> written(sizeof(Args));
    visit_accesses(copy, [&](auto& field, bool writes) {
        const auto at = reinterpret_cast<const char*>(&field) - reinterpret_cast<const char*>(&copy);
        written[static_cast<size_t>(at)] = writes;
    });
    return written;
}

using WrittenFields = std::vector<bool> (*)(const std::vector<uint64_t>&);
const WrittenFields kWrittenFields[] = {
#define OWL_CUDA_KERNEL(name, Args, threads) written_fields<Args>,
#include "kernels/catalogue.def"
#undef OWL_CUDA_KERNEL
};

std::vector<Access> accesses_of(const Plan& plan, const Step& step) {
    std::vector<Access> found;
    const auto& call = *static_cast<const Call*>(step.kernel);
    const std::vector<bool> written = kWrittenFields[static_cast<size_t>(call.launches[0].kernel)](step.args);
    for (const Patch& patch : step.patches) {
        const Slot& slot = plan.slots[static_cast<size_t>(patch.slot)];
        const bool arena = slot.kind == Slot::arena;  // of other buffers all bytes count
        const size_t first = arena ? slot.offset : 0, last = arena ? slot.offset + slot.bytes : 1;
        found.push_back({buffer_of(plan, slot), first, last, written[patch.field]});
    }
    return found;
}

bool conflict(const std::vector<Access>& a, const std::vector<Access>& b) {
    for (const Access& x : a)
        for (const Access& y : b)
            if (x.buffer == y.buffer && (x.written || y.written) && x.first < y.last && y.first < x.last) return true;
    return false;
}

}  // namespace

std::vector<std::vector<int>> dependencies(const Plan& plan, size_t count) {
    std::vector<std::vector<Access>> accesses(count);
    std::vector<std::vector<int>> found(count);
    std::vector<std::vector<bool>> before(count, std::vector<bool>(count));  // directly or not
    for (size_t i = 0; i < count; ++i) {
        if (plan.steps[i].empty) continue;
        accesses[i] = accesses_of(plan, plan.steps[i]);
        for (size_t k = i; k-- > 0;) {
            if (before[i][k] || plan.steps[k].empty || !conflict(accesses[i], accesses[k])) continue;
            found[i].push_back(static_cast<int>(k));
            before[i][k] = true;
            for (size_t earlier = 0; earlier < k; ++earlier) before[i][earlier] = before[i][earlier] || before[k][earlier];
        }
    }
    return found;
}

}  // namespace cuda
}  // namespace owl
