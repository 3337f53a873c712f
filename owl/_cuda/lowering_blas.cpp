// Matrix products that cuBLAS computes: a step for each, of no kernel of owl's.
#include "blas.h"
#include "lowering.h"

namespace owl {
namespace cuda {

void lower_blas_product(Lowered* out, const Plan& plan, const Fusion& fusion, const Placement& placement, int i) {
    const PlanNode& node = plan.nodes[i];
    const Operand &a = fusion.operands[i][0], &b = fusion.operands[i][1];
    const auto precision = static_cast<Precision>(attributes_of<MatmulAttributes>(node).precision);
    const bool rounds = node.dtype == DType::f32 && precision == Precision::high;
    StepBuilder<BlasProduct> builder(rounds ? "cublas_tf32" : "cublas", nullptr, placement);
    BlasProduct& args = builder.args;
    args.m = static_cast<int32_t>(node.shape.dim[0]);
    args.n = static_cast<int32_t>(node.shape.dim[1]);
    args.k = static_cast<int32_t>(a.view.dim[a.transposed ? 0 : 1]);
    args.lda = static_cast<int32_t>(a.view.dim[0]);
    args.ldb = static_cast<int32_t>(b.view.dim[0]);
    args.a_transposed = a.transposed;
    args.b_transposed = b.transposed;
    args.dtype = node.dtype;
    args.precision = precision;
    builder.point(args.a, a.ref);
    builder.point(args.b, b.ref);
    builder.point(args.c, i);
    builder.step().operations.push_back(i);
    Call call;
    call.kind = CallKind::product;
    out->push(&builder, call);
}

}  // namespace cuda
}  // namespace owl
