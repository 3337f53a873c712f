#include "lowering.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "step_builder.h"

namespace owl {
namespace {

void dense_strides(const Shape& shape, int64_t* stride) {
    int64_t step = 1;
    for (int d = 0; d < shape.ndim; ++d) {
        stride[d] = step;
        step *= shape.dim[d];
    }
}

// Strides of an operand of shape `view` in a pass over `space`: a dimension of 1 is repeated.
void broadcast_strides(const Shape& view, const Shape& space, int64_t* stride) {
    dense_strides(view, stride);
    for (int d = 0; d < space.ndim; ++d)
        if (view.dim[d] == 1) stride[d] = 0;
}

// Turns the members of a group into a program over register blocks.
class ProgramBuilder {
   public:
    ProgramBuilder(Plan* plan, const Fusion& fusion, int id)
        : plan_(*plan), f_(fusion), id_(id), group_(fusion.groups[id]) {}

    // Fills `args->program`, inputs, outputs, sums and scalars. `product`: the member whose value is input 0, or -1.
    template <class Args>
    void build(StepBuilder<Args>* builder, int product) {
        auto program = std::make_shared<Program>();
        std::memset(static_cast<void*>(program.get()), 0, sizeof *program);
        program_ = program.get();
        program_->dtype = group_.dtype;
        registers_.assign(plan_.nodes.size(), -1);
        count_uses();
        if (product >= 0) {
            registers_[product] = program_->n_inputs++;
            keep(product, registers_[product]);
        }
        collect_inputs(builder, product);
        for (int r = 0; r < program_->n_inputs; ++r) used_[r] = true;
        highest_ = program_->n_inputs;
        builder->step().first_scalar = static_cast<int32_t>(plan_.scalar_order.size());
        for (int member : group_.members)
            if (member != product) emit(member);
        program_->n_registers = static_cast<uint8_t>(highest_);
        finish_outputs(builder);
        if (program_->n_scalars) builder->step().scalars_field = static_cast<int32_t>(builder->position(builder->args.scalars));
        builder->args.program_field() = program_;
        builder->step().program = std::move(program);
    }

   private:
    struct Input {
        Ref ref;
        Shape view;
        int reg;
    };

    bool in_register(const Operand& operand, const PlanNode& consumer) const {
        return operand.ref >= 0 && f_.group_of[operand.ref] == id_ && consumer.op != Op::matmul &&
               operand.view == group_.space;
    }

    void count_uses() {
        uses_.assign(plan_.nodes.size(), 0);
        for (int member : group_.members) {
            if (plan_.nodes[member].op == Op::matmul) continue;
            for (const Operand& operand : f_.operands[member])
                if (operand.ref >= 0) ++uses_[operand.ref];
            if (f_.stored[member]) ++uses_[member];  // held until the block's end
        }
        for (int sum : group_.sums) ++uses_[f_.operands[sum][0].ref];
        if (!group_.members.empty() && f_.stored[group_.members[0]] && plan_.nodes[group_.members[0]].op == Op::matmul)
            ++uses_[group_.members[0]];
    }

    template <class Args>
    void collect_inputs(StepBuilder<Args>* builder, int product) {
        for (int member : group_.members) {
            const PlanNode& node = plan_.nodes[member];
            if (member == product) continue;
            for (const Operand& operand : f_.operands[member]) {
                if (in_register(operand, node) || find_input(operand)) continue;
                assert(program_->n_inputs < kMaxProgramInputs);
                const int reg = program_->n_inputs++;
                inputs_.push_back({operand.ref, operand.view, reg});
                StridedArray& target = builder->args.input[reg];
                target.dtype = operand.ref >= 0 ? plan_.nodes[operand.ref].dtype : plan_.inputs[~operand.ref].dtype;
                broadcast_strides(operand.view, group_.space, target.stride);
                builder->point(target.data, operand.ref);
            }
        }
    }

    const Input* find_input(const Operand& operand) const {
        for (const Input& input : inputs_)
            if (input.ref == operand.ref && input.view == operand.view) return &input;
        return nullptr;
    }

    int free_register() {
        for (int r = 0; r < kMaxProgramRegisters; ++r) {
            if (used_[r]) continue;
            used_[r] = true;
            highest_ = std::max(highest_, r + 1);
            return r;
        }
        assert(false);
        return 0;
    }

    void keep(int node, int reg) {
        registers_[node] = reg;
        used_[reg] = true;
    }

    void emit(int member) {
        const PlanNode& node = plan_.nodes[member];
        Instruction instruction{};
        instruction.op = node.op == Op::cast ? Elementwise::copy : static_cast<Elementwise>(node.op);
        uint8_t slots[3] = {0, 0, 0};
        size_t array = 0;
        int scalar = 0;
        const int arity = node.op == Op::cast ? 1 : elementwise_info(static_cast<int>(node.op)).arity;
        for (int k = 0; k < arity; ++k) {
            if (node.scalar_mask >> k & 1) {
                plan_.scalar_order.push_back(node.first_scalar + scalar++);
                slots[k] = static_cast<uint8_t>(kScalarOperand + program_->n_scalars++);
            } else {
                const Operand& operand = f_.operands[member][array++];
                slots[k] = static_cast<uint8_t>(in_register(operand, node) ? registers_[operand.ref] : find_input(operand)->reg);
            }
        }
        for (const Operand& operand : f_.operands[member])
            if (in_register(operand, node) && --uses_[operand.ref] == 0) used_[registers_[operand.ref]] = false;
        const int target = free_register();
        keep(member, target);
        instruction.dst = static_cast<uint8_t>(target);
        instruction.a = slots[0];
        instruction.b = slots[1];
        instruction.c = slots[2];
        program_->instruction[program_->n_instructions++] = instruction;
    }

    template <class Args>
    void finish_outputs(StepBuilder<Args>* builder) {
        for (int member : group_.members) {
            builder->step().operations.push_back(member);
            if (!f_.stored[member]) continue;
            StridedArray& target = builder->args.output[program_->n_outputs];
            target.dtype = plan_.nodes[member].dtype;
            dense_strides(group_.space, target.stride);
            builder->point(target.data, member);
            program_->output_register[program_->n_outputs++] = static_cast<uint8_t>(registers_[member]);
        }
        for (int sum : group_.sums) {
            builder->step().operations.push_back(sum);
            builder->point(builder->args.sum[program_->n_sums], sum);
            program_->sum_register[program_->n_sums++] = static_cast<uint8_t>(registers_[f_.operands[sum][0].ref]);
        }
    }

    Plan& plan_;
    const Fusion& f_;
    const int id_;
    const Group& group_;
    Program* program_ = nullptr;
    std::vector<Input> inputs_;
    std::vector<int> registers_, uses_;
    bool used_[kMaxProgramRegisters] = {};
    int highest_ = 0;
};

// The two argument structs that carry a program name it differently.
struct ElementwiseStep : ElementwiseArgs {
    const Program*& program_field() { return program; }
};
struct GemmStep : GemmArgs {
    const Program*& program_field() { return epilogue; }
};

class Lowerer {
   public:
    Lowerer(Plan* plan, const Fusion& fusion, const Placement& placement, const KernelTable& kernels)
        : plan_(*plan), f_(fusion), placement_(placement), kernels_(kernels) {}

    void run() {
        for (int id : f_.order) {
            switch (f_.groups[id].kind) {
                case GroupKind::elementwise: lower_elementwise(id); break;
                case GroupKind::matmul: lower_matmul(id); break;
                case GroupKind::convolution:
                    plan_.steps.push_back(lower_convolution(plan_, f_, placement_, kernels_, f_.groups[id]));
                    break;
                case GroupKind::single: lower_single(f_.groups[id].members[0]); break;
            }
        }
        reserve();
    }

   private:
    void lower_elementwise(int id) {
        const Group& group = f_.groups[id];
        StepBuilder<ElementwiseStep> builder(kernels_.elementwise, placement_);
        builder.args.ndim = group.space.ndim;
        std::copy_n(group.space.dim, group.space.ndim, builder.args.shape);
        ProgramBuilder(&plan_, f_, id).build(&builder, -1);
        builder.use_workspace(builder.args.workspace);
        plan_.steps.push_back(builder.finish());
    }

    void lower_matmul(int id) {
        const Group& group = f_.groups[id];
        const int product = group.members[0];
        const PlanNode& node = plan_.nodes[product];
        StepBuilder<GemmStep> builder(kernels_.gemm, placement_);
        GemmArgs& args = builder.args;
        args.dtype = node.dtype;
        const Operand &a = f_.operands[product][0], &b = f_.operands[product][1];
        args.m = node.shape.dim[0];
        args.n = node.shape.dim[1];
        args.k = a.transposed ? a.view.dim[0] : a.view.dim[1];
        args.a_row = a.transposed ? a.view.dim[0] : 1;
        args.a_col = a.transposed ? 1 : a.view.dim[0];
        args.b_row = b.transposed ? b.view.dim[0] : 1;
        args.b_col = b.transposed ? 1 : b.view.dim[0];
        builder.point(args.a, a.ref);
        builder.point(args.b, b.ref);
        if (group.members.size() == 1 && group.sums.empty()) {
            builder.point(args.c, product);
            builder.step().operations.push_back(product);
        } else {
            ProgramBuilder(&plan_, f_, id).build(&builder, product);
        }
        builder.use_workspace(args.workspace);
        plan_.steps.push_back(builder.finish());
    }

    template <class Args>
    void push(StepBuilder<Args>* builder, int i) {
        builder->step().operations.push_back(i);
        plan_.steps.push_back(builder->finish());
    }

    void lower_single(int i) {
        const PlanNode& node = plan_.nodes[i];
        switch (node.op) {
            case Op::transpose: return lower_transpose(i, node);
            case Op::slice: return lower_slice(i, node);
            case Op::concat: return lower_concat(i, node);
            case Op::reduce: return lower_reduce(i, node);
            case Op::softmax: return lower_softmax(i, node, SoftmaxKind::plain);
            case Op::log_softmax: return lower_softmax(i, node, SoftmaxKind::logarithm);
            case Op::cross_entropy: return lower_softmax(i, node, SoftmaxKind::loss);
            case Op::cross_entropy_back: return lower_softmax(i, node, SoftmaxKind::difference);
            case Op::random: return lower_random(i, node);
            case Op::to_device: return lower_transfer(i, node);
            default: assert(false);
        }
    }

    StepBuilder<CopyArgs> copy_step(const PlanNode& node) {
        StepBuilder<CopyArgs> builder(kernels_.copy, placement_);
        builder.args.from = builder.args.to = node.dtype;
        builder.args.ndim = node.shape.ndim;
        std::copy_n(node.shape.dim, node.shape.ndim, builder.args.shape);
        dense_strides(node.shape, builder.args.dst_stride);
        return builder;
    }

    void lower_transpose(int i, const PlanNode& node) {
        auto builder = copy_step(node);
        int64_t source[kMaxDims];
        const Operand& operand = f_.operands[i][0];
        dense_strides(operand.view, source);
        const auto order = attributes_of<TransposeAttributes>(node);
        for (int d = 0; d < node.shape.ndim; ++d) builder.args.src_stride[d] = source[order.source(d)];
        builder.point(builder.args.src, operand.ref);
        builder.point(builder.args.dst, i);
        push(&builder, i);
    }

    void lower_slice(int i, const PlanNode& node) {
        auto builder = copy_step(node);
        std::copy_n(attributes_of<SliceAttributes>(node).stride, node.shape.ndim, builder.args.src_stride);
        builder.point(builder.args.src, f_.operands[i][0].ref, 0, node.first_argument, dtype_size(node.dtype));
        builder.point(builder.args.dst, i);
        push(&builder, i);
    }

    void lower_concat(int i, const PlanNode& node) {
        const int dim = static_cast<int>(attributes_of<ConcatAttributes>(node).dimension);
        int64_t stride[kMaxDims];
        dense_strides(node.shape, stride);
        int64_t offset = 0;
        for (const Operand& operand : f_.operands[i]) {
            auto builder = copy_step(node);
            builder.args.shape[dim] = operand.view.dim[dim];
            dense_strides(operand.view, builder.args.src_stride);
            builder.point(builder.args.src, operand.ref);
            builder.point(builder.args.dst, i, offset * stride[dim] * static_cast<int64_t>(dtype_size(node.dtype)));
            builder.step().continues = offset > 0;
            offset += operand.view.dim[dim];
            push(&builder, i);
        }
    }

    void lower_reduce(int i, const PlanNode& node) {
        StepBuilder<ReduceArgs> builder(kernels_.reduce, placement_);
        const Operand& operand = f_.operands[i][0];
        ReduceArgs& args = builder.args;
        args.dtype = node.dtype;
        const auto attributes = attributes_of<ReduceAttributes>(node);
        args.op = static_cast<Reduction>(attributes.reduction);
        args.axes = static_cast<uint32_t>(attributes.axes);
        args.ndim = operand.view.ndim;
        std::copy_n(operand.view.dim, operand.view.ndim, args.shape);
        const int64_t count = operand.view.size() / std::max<int64_t>(1, node.shape.size());
        args.scale = attributes.mean ? 1.0 / static_cast<double>(count) : 1.0;
        builder.point(args.x, operand.ref);
        builder.point(args.y, i);
        builder.use_workspace(args.workspace);
        push(&builder, i);
    }

    void lower_softmax(int i, const PlanNode& node, SoftmaxKind kind) {
        StepBuilder<SoftmaxArgs> builder(kernels_.softmax, placement_);
        SoftmaxArgs& args = builder.args;
        args.dtype = node.dtype;
        args.kind = kind;
        args.inner = args.length = args.outer = 1;
        const Operand& operand = f_.operands[i][0];
        const Shape& shape = operand.view;
        const auto group = attributes_of<SoftmaxAttributes>(node);
        for (int d = 0; d < shape.ndim; ++d)
            (d < group.first ? args.inner : d < group.end ? args.length : args.outer) *= shape.dim[d];
        builder.point(args.x, operand.ref);
        if (kind == SoftmaxKind::loss || kind == SoftmaxKind::difference) builder.point(args.label, f_.operands[i][1].ref);
        builder.point(args.y, i);
        push(&builder, i);
    }

    void lower_random(int i, const PlanNode& node) {
        StepBuilder<RandomArgs> builder(kernels_.random, placement_);
        RandomArgs& args = builder.args;
        args.dtype = node.dtype;
        const auto attributes = attributes_of<RandomAttributes>(node);
        args.op = static_cast<Distribution>(attributes.distribution);
        args.size = node.shape.size();
        builder.give_argument(args.seed, node.first_argument);
        builder.give_argument(args.stream, node.first_argument + 1);
        builder.give_argument(args.counter, node.first_argument + 2);
        args.p0 = attributes.p0;
        args.p1 = attributes.p1;
        builder.point(args.y, i);
        push(&builder, i);
    }

    // Between memories. Within one it is no step.
    void lower_transfer(int i, const PlanNode& node) {
        auto builder = copy_step(node);
        dense_strides(node.shape, builder.args.src_stride);
        builder.point(builder.args.src, f_.operands[i][0].ref);
        builder.point(builder.args.dst, i);
        push(&builder, i);
    }

    // One workspace at the arena's end serves every step in turn; scratch is as much as the hungriest kernel asks for.
    void reserve() {
        for (Step& step : plan_.steps)
            step.empty = std::all_of(step.operations.begin(), step.operations.end(),
                                     [&](int32_t i) { return plan_.nodes[i].shape.size() == 0; });
        if (!plan_.has_arena) return reserve_by_step();
        size_t workspace = 0;
        for (const Step& step : plan_.steps) {
            if (step.empty) continue;
            plan_.scratch_bytes = std::max(plan_.scratch_bytes, kernel_of(step).scratch(step.args.data()));
            workspace = std::max(workspace, kernel_of(step).workspace(step.args.data()));
        }
        if (!workspace) return;
        const auto slot = static_cast<int32_t>(plan_.slots.size());
        plan_.slots.push_back({Slot::arena, -1, plan_.arena_bytes});
        plan_.arena_bytes += workspace;
        for (Step& step : plan_.steps)
            if (step.workspace_field >= 0)
                step.patches.push_back({static_cast<uint32_t>(step.workspace_field), slot, -1, 0, 0});
    }

    // Each step has a workspace of its own, and says which values it is the first or the last to touch.
    void reserve_by_step() {
        for (Step& step : plan_.steps) {
            if (step.empty) continue;
            step.scratch_bytes = kernel_of(step).scratch(step.args.data());
            const size_t workspace = kernel_of(step).workspace(step.args.data());
            if (!workspace || step.workspace_field < 0) continue;
            const auto slot = static_cast<int32_t>(plan_.slots.size());
            plan_.slots.push_back({Slot::own, static_cast<int32_t>(plan_.own_bytes.size()), 0});
            plan_.own_bytes.push_back(workspace);
            step.patches.push_back({static_cast<uint32_t>(step.workspace_field), slot, -1, 0, 0});
        }
        std::vector<Step*> last(plan_.slots.size(), nullptr);
        for (Step& step : plan_.steps) {
            for (const Patch& patch : step.patches) {
                if (!last[patch.slot]) step.begins.push_back(patch.slot);
                last[patch.slot] = &step;
            }
        }
        for (size_t slot = 0; slot < last.size(); ++slot)
            if (last[slot]) last[slot]->ends.push_back(static_cast<int32_t>(slot));
    }

    Plan& plan_;
    const Fusion& f_;
    const Placement& placement_;
    const KernelTable& kernels_;
};

}  // namespace

void CpuBackend::lower(Plan* plan, const Fusion& fusion, const Placement& placement) const {
    Lowerer(plan, fusion, placement, kernels_).run();
}

}  // namespace owl
