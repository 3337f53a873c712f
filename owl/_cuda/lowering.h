// What the files of the lowering share, and the parts of it, each in a file of its own.
#pragma once
#include <algorithm>
#include <iterator>

#include "_engine/plan/program_builder.h"
#include "calls.h"
#include "kernels/args.h"

namespace owl {
namespace cuda {

// Steps, and the bytes of workspace that each needs.
struct Lowered {
    std::vector<Step> steps;
    std::vector<size_t> workspace;

    template <class Args>
    void push(StepBuilder<Args>* builder, const Call& call, size_t bytes = 0) {
        auto kept = std::make_shared<const Call>(call);
        Step& step = builder->step();
        step.kernel = kept.get();
        step.program = std::move(kept);
        steps.push_back(builder->finish());
        workspace.push_back(bytes);
    }
};

// A launch that carries a program, as ProgramBuilder fills it.
template <class Launch>
struct WithProgram : Launch {
    const void*& describe_input(int reg, DType dtype, const int64_t* strides) {
        this->input_type[reg] = dtype;
        std::copy_n(strides, std::size(this->stride[reg]), this->stride[reg]);
        return this->input[reg];
    }
    void*& describe_output(int k, DType dtype, const int64_t*) {
        this->output_type[k] = dtype;
        return this->output[k];
    }
    template <class Builder>
    void take_program(const std::shared_ptr<const Program>& program, Builder* builder) {
        this->n_inputs = program->n_inputs;
        this->n_outputs = program->n_outputs;
        this->n_instructions = program->n_instructions;
        n_registers = program->n_registers;
        std::copy_n(program->instruction, program->n_instructions, this->instruction);
        std::copy_n(program->output_register, program->n_outputs, this->output_register);
        if (!program->n_scalars) return;
        builder->step().scalars_field = static_cast<int32_t>(builder->position(this->scalar));
        builder->step().scalars_inside = program->n_scalars;
    }
    int n_registers = 0;
};

constexpr int kFewRegisters = 16;  // the kernels for programs have room for as many, or for all

// Enough to fill any device; kernels go on over what is left.
constexpr int64_t kMostBlocks = 1 << 14;

inline int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

inline uint32_t blocks_of(int64_t pieces) { return static_cast<uint32_t>(std::clamp<int64_t>(pieces, 1, kMostBlocks)); }

inline uint32_t blocks_for(int64_t elements, int threads, int per_thread) {
    return blocks_of(ceil_div(elements, int64_t{threads} * per_thread));
}

// The kernels' counters go one step beyond the end.
inline bool fits_32_bits(int64_t elements, uint32_t blocks, int threads) {
    return elements + int64_t{blocks} * threads < (int64_t{1} << 31);
}

inline Kernel offset(Kernel first, int by) { return static_cast<Kernel>(static_cast<int>(first) + by); }

// In the catalogue a kernel's form for float64 comes after the one for float32.
inline Kernel typed(Kernel f32, DType dtype) { return offset(f32, dtype == DType::f64); }

inline Call launch(Kernel kernel, uint32_t blocks) {
    Call call;
    call.n_launches = 1;
    call.launches[0] = {kernel, blocks};
    return call;
}

// Of a node that is a reduction, or a softmax of any kind.
void lower_reduction(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, int node);
// Of a node that is a running sum, a take or the gradient of one.
void lower_line(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, int node);
// Of a group that is a matrix product.
void lower_product(Lowered* out, Plan* plan, const Fusion& fusion, const Placement& placement, int group);
// Of a node that is a product which cuBLAS computes.
void lower_blas_product(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, int node);
// Of a group that is a convolution, a pooling or a normalization.
void lower_convolution(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, const Group& group);
// Of a pooling, whose data may be what the step before left in the workspace.
void lower_pool_forward(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, int pool,
                        bool from_workspace);
// Of a group that is a pool_backward, with or without the relu_back below it.
void lower_pool_backward(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, const Group& group);

// Where the positions of maxima lie, if they are kept.
template <class Args>
void point_to_positions(StepBuilder<Args>* builder, const Placement& placement, int pool) {
    const int32_t slot = placement.position_slot[static_cast<size_t>(pool)];
    if (slot >= 0) builder->point_to_slot(builder->args.positions, slot);
}

// Of a group for which there is no kernel yet.
void lower_missing(Lowered* out, const Placement& placement, const Group& group);

}  // namespace cuda
}  // namespace owl
