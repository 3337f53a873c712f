// A plan: what a window, or its part on one device, compiles to. It knows shapes and structure, never values: scalars,
// offsets and buffers are arguments of each run.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "_engine/graph/node.h"

namespace owl {

// Operands in a plan: >= 0 is the node of that number, < 0 is external input ~ref.
using Ref = int32_t;

constexpr int kHostMemory = 0;  // the number of the host's memory

struct PlanInput {
    Shape shape;
    DType dtype;
    bool donatable;  // the value has no other reader, so its buffer may be overwritten after its last use
    int memory;      // by its number
};

struct PlanNode {
    Op op;
    DType dtype;
    bool live;           // the value can be seen outside the plan: it is stored
    bool rematerializable;       // only a handle can see it, and it may be computed again rather than stored
    bool pushed;         // a transfer to the host's memory, from a device that has its own
    uint8_t scalar_mask;
    Shape shape;
    int64_t attribute[kMaxAttributes];
    std::vector<Ref> inputs;
    int first_scalar, first_argument;  // positions among the run's scalars and arguments
};

// Where a run finds or puts an array.
struct Slot {
    enum Kind : uint8_t { input, output, arena, own } kind;
    int32_t number;   // of the input or output, or of the value that has a buffer of its own
    size_t offset;    // in the arena
    size_t bytes = 0;  // likewise: how many lie there
};

// "The pointer at `field` of the step's arguments is slot `slot`, plus `offset` bytes, plus argument `argument` elements."
struct Patch {
    uint32_t field;
    int32_t slot;
    int32_t argument;  // -1: none
    uint32_t item_size;
    int64_t offset;
};

struct ArgumentPatch {
    uint32_t field;
    int32_t argument;
};

struct Step {
    const char* name = "";         // the kernel's
    const void* kernel = nullptr;  // the backend's
    std::vector<uint64_t> args;    // the kernel's argument struct; 8-byte aligned
    std::vector<Patch> patches;
    std::vector<ArgumentPatch> argument_patches;
    int32_t scalars_field = -1;   // where the pointer to this step's scalars goes; -1: it has none
    int32_t scalars_inside = 0;   // so many go there themselves instead
    int32_t first_scalar = 0;     // among the plan's packed scalars
    std::vector<Patch> workspace;  // pointers into the workspace; place_workspaces() makes patches of them
    std::shared_ptr<const void> program;  // what the arguments point to, if anything
    std::vector<int32_t> operations;  // the plan's nodes that this step computes: a failure names them
    bool continues = false;  // of the operation whose step the one before was
    bool empty = false;      // no value that it makes has an element: its kernel need not look for any
    int32_t blocked_node = -1;  // the node among them whose value stays in blocked layout (NCHWc); -1: none
    // Only in a plan without an arena: slots that this step is the first to touch, or the last.
    std::vector<int32_t> begins, ends;
    size_t scratch_bytes = 0;  // likewise; per thread
};

struct PlanOutput {
    int32_t node;
    size_t bytes;
    int32_t donated_input = -1;  // written over this input's buffer, if that turns out to be ours alone
    int32_t alias_input = -1;    // the same buffer as this input (reshape, copy)
    int32_t alias_output = -1;   // the same buffer as this output
};

// What an executor keeps of a plan from one of its runs to the next. Any thread may destroy it.
class PlanState {
   public:
    virtual ~PlanState() = default;
};

struct Plan {
    std::vector<uint64_t> key;  // verified on a hit
    uint64_t hash = 0;
    uint64_t id = 0;
    uint16_t device = 0;  // that runs it
    int memory = 0;       // of that device, by its number
    std::vector<PlanNode> nodes;
    std::vector<PlanInput> inputs;
    std::vector<PlanOutput> outputs;
    std::vector<int32_t> rematerializable_nodes;  // nodes that are used inside, not stored, and stay recorded
    std::vector<Ref> root;           // of each node: the array that holds its value
    std::unique_ptr<Plan> unfused;   // one step per operation, where an input failed or memory is short; made when needed
    std::vector<Slot> slots;
    std::vector<Step> steps;
    std::vector<int32_t> scalar_order;  // packed scalar i is the run's scalar scalar_order[i]
    bool fused = false;              // compiled to share passes
    bool has_arena = true;           // false: a buffer for each value, from the first step that touches it to the last
    std::vector<size_t> own_bytes;   // of each value that has one, which no arena and no output holds
    size_t arena_bytes = 0;
    size_t scratch_bytes = 0;  // per thread
    size_t output_bytes = 0;   // stored outside, donated ones included
    int n_scalars = 0, n_arguments = 0;
    mutable std::atomic<int32_t> steps_together{0};  // so many of the first ones the device last took in one call
    std::unique_ptr<PlanState> state;  // of the one executor that runs it; nullptr: none
    Plan* next_dropped = nullptr;  // in the bin
};

}  // namespace owl
