// The making of one step: its kernel's arguments, and which of them are filled in at each run.
#pragma once
#include <cassert>
#include <cstring>

#include "placement.h"

namespace owl {

// Collects a step's argument struct and the pointers to fill in at each run.
template <class Args>
class StepBuilder {
   public:
    Args args{};

    // `kernel` is the backend's.
    StepBuilder(const char* name, const void* kernel, const Placement& placement) : placement_(placement) {
        step_.name = name;
        step_.kernel = kernel;
    }

    int32_t slot_of(Ref ref) const { return ref >= 0 ? placement_.value_slot[ref] : placement_.input_slot[~ref]; }

    template <class Pointer>
    void point(Pointer& field, Ref ref, int64_t offset = 0, int32_t argument = -1, size_t item_size = 0) {
        assert(slot_of(ref) >= 0);
        step_.patches.push_back({position(field), slot_of(ref), argument, static_cast<uint32_t>(item_size), offset});
    }
    template <class Pointer>
    void point_to_slot(Pointer& field, int32_t slot) {
        step_.patches.push_back({position(field), slot, -1, 0, 0});
    }
    template <class Field>
    void give_argument(Field& field, int32_t argument) {
        step_.argument_patches.push_back({position(field), argument});
    }
    template <class Field>
    uint32_t position(const Field& field) const {
        return static_cast<uint32_t>(reinterpret_cast<const char*>(&field) - reinterpret_cast<const char*>(&args));
    }
    // So many bytes into the workspace, which comes into being when all steps are known.
    template <class Pointer>
    void use_workspace(const Pointer& field, int64_t offset = 0) {
        step_.workspace.push_back({position(field), -1, -1, 0, offset});
    }
    Step& step() { return step_; }

    Step finish() {
        step_.args.assign((sizeof(Args) + 7) / 8, 0);
        std::memcpy(step_.args.data(), &args, sizeof(Args));
        return std::move(step_);
    }

   private:
    const Placement& placement_;
    Step step_;
};

}  // namespace owl
