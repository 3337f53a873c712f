// From a plan's groups to launches of CUDA kernels.
#include "lowering.h"

#include "_engine/plan/copies.h"
#include "_engine/plan/workspace.h"
#include "backend.h"

namespace owl {
namespace cuda {
namespace {

constexpr int kPerThread = 4;  // elements, where there are many

struct ElementwiseStep : WithProgram<ElementwiseLaunch> {
    template <class Builder>
    void take_program(const std::shared_ptr<const Program>& program, Builder* builder) {
        WithProgram::take_program(program, builder);
        n_sums = program->n_sums;
        std::copy_n(program->sum_register, program->n_sums, sum_register);
    }
};

// Dimensions that every operand walks through as if they were one become one.
void join_dimensions(ElementwiseLaunch* a) {
    int kept = 0;
    for (int d = 1; d < a->ndim; ++d) {
        if (a->shape[d] == 1) continue;
        bool joined = a->shape[kept] != 1;
        for (int k = 0; k < a->n_inputs; ++k)
            joined = joined && a->stride[k][d] == a->stride[k][kept] * a->shape[kept];
        if (joined) {
            a->shape[kept] *= a->shape[d];
            continue;
        }
        if (a->shape[kept] != 1) ++kept;
        a->shape[kept] = a->shape[d];
        for (int k = 0; k < a->n_inputs; ++k) a->stride[k][kept] = a->stride[k][d];
    }
    a->ndim = static_cast<uint8_t>(std::min<int>(a->ndim, kept + 1));
}

class Lowerer {
   public:
    Lowerer(Plan* plan, const Fusion& fusion, const Placement& placement, Specializer* specializer)
        : plan_(*plan), f_(fusion), placement_(placement), specializer_(specializer) {}

    void run() {
        for (int id : f_.order) {
            const Group& group = f_.groups[id];
            switch (group.kind) {
                case GroupKind::elementwise: lower_elementwise(id); break;
                case GroupKind::single: lower_single(group.members[0]); break;
                case GroupKind::matmul: lower_product(&out_, &plan_, f_, placement_, id); break;
                case GroupKind::convolution: lower_convolution(&out_, plan_, f_, placement_, group); break;
            }
        }
        plan_.steps = std::move(out_.steps);
        find_empty_steps(&plan_);
        for (size_t i = 0; i < plan_.steps.size(); ++i)
            if (plan_.steps[i].empty) out_.workspace[i] = 0;
        place_workspaces(&plan_, out_.workspace);
    }

   private:
    void lower_elementwise(int id) {
        const Group& group = f_.groups[id];
        StepBuilder<ElementwiseStep> builder("elementwise", nullptr, placement_);
        ElementwiseStep& args = builder.args;
        args.size = group.space.size();
        args.ndim = static_cast<uint8_t>(group.space.ndim);
        std::copy_n(group.space.dim, group.space.ndim, args.shape);
        ProgramBuilder(&plan_, f_, id).build(&builder, -1);
        const bool doubles = group.dtype == DType::f64, many = args.n_registers > kFewRegisters;
        const int threads = doubles ? kElementwiseThreads<double> : kElementwiseThreads<float>;
        if (args.n_sums) return lower_rows(&builder, group, threads);
        join_dimensions(&args);
        const uint32_t blocks = blocks_for(args.size, threads, kPerThread);
        const int wide = !fits_32_bits(args.size, blocks, threads);
        // In the catalogue the registers change first, then the indices' width.
        const Kernel first = doubles ? Kernel::elementwise_f64_i32_16 : Kernel::elementwise_f32_i32_16;
        Call call = launch(offset(first, 2 * wide + many), blocks);
        specialize(&call, &builder, group.dtype, wide);
        out_.push(&builder, call);
    }

    void specialize(Call* call, StepBuilder<ElementwiseStep>* builder, DType dtype, bool wide) {
        if (!specializer_) return;
        const int n_scalars = builder->step().scalars_inside;
        call->specialization = specializer_->find(plan_.device, program_code(builder->args, dtype, wide, n_scalars));
    }

    // With sums over columns. Several groups of columns leave their sums in the workspace.
    void lower_rows(StepBuilder<ElementwiseStep>* builder, const Group& group, int threads) {
        ElementwiseStep& args = builder->args;
        const bool doubles = group.dtype == DType::f64, many = args.n_registers > kFewRegisters;
        args.rows = group.space.dim[0];
        args.columns = args.size / std::max<int64_t>(1, args.rows);
        const int64_t groups = std::max<int64_t>(1, ceil_div(args.columns, kSumGroup));
        const int64_t stretches = std::max<int64_t>(1, ceil_div(args.rows, threads));
        const Kernel first = doubles ? Kernel::elementwise_rows_f64_16 : Kernel::elementwise_rows_f32_16;
        Call call = launch(offset(first, many), static_cast<uint32_t>(stretches * groups));
        const auto bytes = static_cast<size_t>(args.rows * groups) * dtype_size(group.dtype);
        for (int s = 0; s < args.n_sums; ++s) {
            if (groups == 1)
                builder->point(args.part[s], group.sums[static_cast<size_t>(s)]);
            else
                builder->use_workspace(args.part[s], static_cast<int64_t>(bytes) * s);
        }
        if (groups > 1) {
            call.n_launches = 2;
            call.launches[1] = {doubles ? Kernel::elementwise_groups_f64 : Kernel::elementwise_groups_f32,
                                static_cast<uint32_t>(stretches)};
        }
        specialize(&call, builder, group.dtype, true);
        out_.push(builder, call, groups > 1 ? bytes * args.n_sums : 0);
    }

    void lower_single(int i) {
        const PlanNode& node = plan_.nodes[i];
        if (only_moves(node.op)) return lower_copies(i, node);
        switch (node.op) {
            case Op::random: return lower_random(i, node);
            case Op::to_device: return lower_transfer(i, node);
            case Op::matmul: return lower_blas_product(&out_, plan_, f_, placement_, i);
            case Op::cumsum:
            case Op::take:
            case Op::take_back: return lower_line(&out_, plan_, f_, placement_, i);
            case Op::reduce:
            case Op::softmax:
            case Op::log_softmax:
            case Op::cross_entropy:
            case Op::cross_entropy_back: return lower_reduction(&out_, plan_, f_, placement_, i);
            default: return lower_missing(&out_, placement_, f_.groups[f_.group_of[i]]);
        }
    }

    void lower_copies(int i, const PlanNode& node) {
        const StepBuilder<CopyLaunch> blank("copy", nullptr, placement_);
        owl::lower_copies(node, i, f_.operands[i], blank, [&](StepBuilder<CopyLaunch>* builder) { push_copy(builder, i); });
    }

    void push_copy(StepBuilder<CopyLaunch>* builder, int i) {
        CopyLaunch& args = builder->args;
        const DType dtype = plan_.nodes[i].dtype;
        args.size = 1;
        for (int d = 0; d < args.ndim; ++d) args.size *= args.shape[d];
        builder->step().operations.push_back(i);
        out_.push(builder, args.size ? copy_call(args, dtype) : Call());  // of a concatenation a part may be empty
    }

    static Call copy_call(const CopyLaunch& args, DType dtype) {
        if (args.ndim >= 2 && args.dst_stride[0] == 1 && args.src_stride[1] == 1 && args.src_stride[0] != 1 &&
            args.shape[0] > 1 && args.shape[1] > 1) {
            const int64_t tiles = ceil_div(args.shape[0], kCopyTile) * ceil_div(args.shape[1], kCopyTile);
            const int64_t blocks = tiles * (args.size / (args.shape[0] * args.shape[1]));
            if (blocks < (int64_t{1} << 31))
                return launch(dtype_size(dtype) == 8 ? Kernel::copy_transposed_8 : Kernel::copy_transposed_4,
                              static_cast<uint32_t>(blocks));
        }
        const uint32_t blocks = blocks_for(args.size, kCopyThreads, kPerThread);
        const int wide = !fits_32_bits(args.size, blocks, kCopyThreads);
        const Kernel first = dtype == DType::f64 ? Kernel::copy_f64_f64_i32
                             : dtype == DType::f32 ? Kernel::copy_f32_f32_i32
                                                   : Kernel::copy_u8_u8_i32;
        return launch(offset(first, wide), blocks);
    }

    void lower_random(int i, const PlanNode& node) {
        StepBuilder<RandomLaunch> builder("random", nullptr, placement_);
        RandomLaunch& args = builder.args;
        const auto attributes = attributes_of<RandomAttributes>(node);
        args.distribution = static_cast<Distribution>(attributes.distribution);
        args.size = node.shape.size();
        builder.give_argument(args.seed, node.first_argument);
        builder.give_argument(args.stream, node.first_argument + 1);
        builder.give_argument(args.counter, node.first_argument + 2);
        args.p0 = attributes.p0;
        args.p1 = attributes.p1;
        builder.point(args.y, i);
        builder.step().operations.push_back(i);
        out_.push(&builder, launch(node.dtype == DType::f64 ? Kernel::random_f64 : Kernel::random_f32,
                                        blocks_for(args.size, kRandomThreads, kPerThread)));
    }

    // The number of the memory where a run puts a value. One that is sent to the host gets there if it is stored outside; within
    // the plan it stays on the device.
    int memory_of(Ref ref) const {
        if (ref < 0) return plan_.inputs[~ref].memory;
        const bool outside = plan_.slots[placement_.value_slot[ref]].kind == Slot::output;
        return plan_.nodes[ref].pushed && outside ? kHostMemory : plan_.memory;
    }

    // Between memories. Within one it is no step.
    void lower_transfer(int i, const PlanNode& node) {
        const Ref ref = f_.operands[i][0].ref;
        const int from = memory_of(ref), to = memory_of(i);
        if (from == to) return lower_copies(i, node);  // to the host and back, which nothing else sees
        StepBuilder<Transfer> builder("transfer", nullptr, placement_);
        builder.args.bytes = static_cast<uint64_t>(node.shape.size()) * dtype_size(node.dtype);
        builder.args.from_memory = from;
        builder.args.to_memory = to;
        builder.point(builder.args.from, ref);
        builder.point(builder.args.to, i);
        builder.step().operations.push_back(i);
        Call call;
        call.kind = CallKind::copy;
        out_.push(&builder, call);
    }

    Plan& plan_;
    const Fusion& f_;
    const Placement& placement_;
    Specializer* specializer_;
    Lowered out_;
};

}  // namespace

void lower_missing(Lowered* out, const Placement& placement, const Group& group) {
    StepBuilder<Transfer> builder("missing", nullptr, placement);
    for (int member : group.members) builder.step().operations.push_back(member);
    for (int sum : group.sums) builder.step().operations.push_back(sum);
    Call call;
    call.kind = CallKind::missing;
    out->push(&builder, call);
}

}  // namespace cuda

FusionRules CudaBackend::rules() const {
    FusionRules rules;
    rules.pooling_gradients = rules.sums_in_products = false;
    if (const int64_t border = blas_border_)
        rules.whole_product = [border](int64_t m, int64_t n, int64_t k) { return cuda::is_blas_product(m, n, k, border); };
    return rules;
}

void CudaBackend::lower(Plan* plan, const Fusion& fusion, const Placement& placement) const {
    cuda::Lowerer(plan, fusion, placement, specializer_).run();
}

StepForm CudaBackend::form_of(const Step& step) const {
    const auto& call = *static_cast<const cuda::Call*>(step.kernel);
    const bool launches = call.kind == cuda::CallKind::launch && !step.empty;
    return {launches ? call.n_launches : 1, call.specialization && call.specialization->is_made()};
}

}  // namespace owl
