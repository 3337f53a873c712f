// Matrix products with the operations that share their pass: from a group to launches.
#include "lowering.h"

namespace owl {
namespace cuda {
namespace {

// As many large tiles keep a device busy; where there are fewer, small ones are spread over more of it.
constexpr int64_t kManyTiles = 128;

struct GemmProgramStep : WithProgram<GemmProgramLaunch> {
    void* sum[1];  // of rows: there are none, by the backend's rules
};

template <class Tile>
int64_t tiles_of(const GemmLaunch& a) { return ceil_div(a.m, Tile::kRows) * ceil_div(a.n, Tile::kColumns); }

template <class T>
bool has_large_tiles(const GemmLaunch& a) { return tiles_of<LargeTile<T>>(a) >= kManyTiles; }

template <class T>
uint32_t tile_blocks(const GemmLaunch& a, bool large) {
    return static_cast<uint32_t>(std::max<int64_t>(1, large ? tiles_of<LargeTile<T>>(a) : tiles_of<SmallTile<T>>(a)));
}

// The arguments that both kinds of products share. `args` is a part of the builder's.
template <class Args>
void describe_product(GemmLaunch* args, StepBuilder<Args>* builder, const PlanNode& node, const Operand& a, const Operand& b) {
    args->m = node.shape.dim[0];
    args->n = node.shape.dim[1];
    args->k = a.transposed ? a.view.dim[0] : a.view.dim[1];
    args->a_row = a.transposed ? a.view.dim[0] : 1;
    args->a_col = a.transposed ? 1 : a.view.dim[0];
    args->b_row = b.transposed ? b.view.dim[0] : 1;
    args->b_col = b.transposed ? 1 : b.view.dim[0];
    if (!args->k) return;
    builder->point(args->a, a.ref);
    builder->point(args->b, b.ref);
}

// `small`: there is no kernel with large tiles.
Call call_of(const GemmLaunch& a, DType dtype, Kernel f32, Kernel f64, bool small) {
    const bool doubles = dtype == DType::f64;
    const bool large = !small && (doubles ? has_large_tiles<double>(a) : has_large_tiles<float>(a));
    const uint32_t blocks = doubles ? tile_blocks<double>(a, large) : tile_blocks<float>(a, large);
    return launch(offset(doubles ? f64 : f32, large), blocks);  // in the catalogue the large tile comes after the small one
}

}  // namespace

void lower_product(Lowered* out, Plan* plan, const Fusion& fusion, const Placement& placement, int id) {
    const Group& group = fusion.groups[static_cast<size_t>(id)];
    const int product = group.members[0];
    const PlanNode& node = plan->nodes[product];
    const Operand &a = fusion.operands[product][0], &b = fusion.operands[product][1];
    if (group.members.size() == 1) {
        StepBuilder<GemmLaunch> builder("gemm", nullptr, placement);
        describe_product(&builder.args, &builder, node, a, b);
        builder.point(builder.args.c, product);
        builder.step().operations.push_back(product);
        const Call call = call_of(builder.args, node.dtype, Kernel::gemm_f32_small, Kernel::gemm_f64_small, false);
        return out->push(&builder, call);
    }
    StepBuilder<GemmProgramStep> builder("gemm", nullptr, placement);
    GemmLaunch& args = builder.args.product;
    describe_product(&args, &builder, node, a, b);
    ProgramBuilder(plan, fusion, id).build(&builder, product);
    const bool many = builder.args.n_registers > kFewRegisters;
    out->push(&builder,
              many ? call_of(args, node.dtype, Kernel::gemm_program_f32_small_64, Kernel::gemm_program_f64_small_64, true)
                   : call_of(args, node.dtype, Kernel::gemm_program_f32_small_16, Kernel::gemm_program_f64_small_16, false));
}

}  // namespace cuda
}  // namespace owl
