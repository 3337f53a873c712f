#include "lowering.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "_engine/plan/copies.h"
#include "_engine/plan/lines.h"
#include "_engine/plan/program_builder.h"
#include "_engine/plan/workspace.h"

namespace owl {
namespace {

// What both argument structs that carry a program have in common; they name it differently.
template <class Args>
struct WithProgram : Args {
    void*& describe_input(int reg, DType dtype, const int64_t* stride) { return describe(&this->input[reg], dtype, stride); }
    void*& describe_output(int k, DType dtype, const int64_t* stride) { return describe(&this->output[k], dtype, stride); }
    template <class Builder>
    void keep(std::shared_ptr<const Program> program, Builder* builder) {
        if (program->n_scalars) builder->step().scalars_field = static_cast<int32_t>(builder->position(this->scalars));
        builder->step().program = std::move(program);
    }

   private:
    static void*& describe(StridedArray* array, DType dtype, const int64_t* stride) {
        array->dtype = dtype;
        std::copy_n(stride, kMaxDims, array->stride);
        return array->data;
    }
};
struct ElementwiseStep : WithProgram<ElementwiseArgs> {
    template <class Builder>
    void take_program(const std::shared_ptr<const Program>& taken, Builder* builder) {
        program = taken.get();
        keep(taken, builder);
    }
};
struct GemmStep : WithProgram<GemmArgs> {
    template <class Builder>
    void take_program(const std::shared_ptr<const Program>& taken, Builder* builder) {
        epilogue = taken.get();
        keep(taken, builder);
    }
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
        StepBuilder<ElementwiseStep> builder(kernels_.elementwise.name, &kernels_.elementwise, placement_);
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
        StepBuilder<GemmStep> builder(kernels_.gemm.name, &kernels_.gemm, placement_);
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
        if (only_moves(node.op)) return lower_copies(i, node);
        switch (node.op) {
            case Op::to_device: return lower_copies(i, node);  // between memories; within one it is no step
            case Op::reduce: return lower_reduce(i, node);
            case Op::cumsum: return lower_cumsum(i, node);
            case Op::take: return lower_take(i, node, kernels_.take);
            case Op::take_back: return lower_take(i, node, kernels_.take_back);
            case Op::softmax: return lower_softmax(i, node, SoftmaxKind::plain);
            case Op::log_softmax: return lower_softmax(i, node, SoftmaxKind::logarithm);
            case Op::cross_entropy: return lower_softmax(i, node, SoftmaxKind::loss);
            case Op::cross_entropy_back: return lower_softmax(i, node, SoftmaxKind::difference);
            case Op::random: return lower_random(i, node);
            default: assert(false);
        }
    }

    void lower_copies(int i, const PlanNode& node) {
        const StepBuilder<CopyArgs> blank(kernels_.copy.name, &kernels_.copy, placement_);
        owl::lower_copies(node, i, f_.operands[i], blank, [&](StepBuilder<CopyArgs>* builder) {
            builder->args.from = builder->args.to = node.dtype;
            push(builder, i);
        });
    }

    void lower_reduce(int i, const PlanNode& node) {
        StepBuilder<ReduceArgs> builder(kernels_.reduce.name, &kernels_.reduce, placement_);
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

    void lower_cumsum(int i, const PlanNode& node) {
        StepBuilder<CumsumArgs> builder(kernels_.cumsum.name, &kernels_.cumsum, placement_);
        const auto attributes = attributes_of<CumsumAttributes>(node);
        builder.args.dtype = node.dtype;
        builder.args.reverse = attributes.reverse;
        split_around(&builder.args, node.shape, attributes.dimension);
        builder.point(builder.args.x, f_.operands[i][0].ref);
        builder.point(builder.args.y, i);
        push(&builder, i);
    }

    void lower_take(int i, const PlanNode& node, const Kernel& kernel) {
        StepBuilder<TakeArgs> builder(kernel.name, &kernel, placement_);
        builder.args.dtype = node.dtype;
        describe_take(&builder.args, node, f_.operands[i]);
        builder.point(builder.args.x, f_.operands[i][0].ref);
        builder.point(builder.args.indices, f_.operands[i][1].ref);
        builder.point(builder.args.y, i);
        push(&builder, i);
    }

    void lower_softmax(int i, const PlanNode& node, SoftmaxKind kind) {
        StepBuilder<SoftmaxArgs> builder(kernels_.softmax.name, &kernels_.softmax, placement_);
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
        StepBuilder<RandomArgs> builder(kernels_.random.name, &kernels_.random, placement_);
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

    // Scratch memory is as much as the hungriest kernel asks for.
    void reserve() {
        find_empty_steps(&plan_);
        std::vector<size_t> workspace(plan_.steps.size(), 0);
        for (size_t i = 0; i < plan_.steps.size(); ++i) {
            Step& step = plan_.steps[i];
            if (step.empty) continue;
            const size_t scratch = kernel_of(step).scratch(step.args.data());
            if (plan_.has_arena) plan_.scratch_bytes = std::max(plan_.scratch_bytes, scratch);
            else step.scratch_bytes = scratch;
            if (!step.workspace.empty()) workspace[i] = kernel_of(step).workspace(step.args.data());
        }
        place_workspaces(&plan_, workspace);
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
