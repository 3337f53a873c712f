#include "fusion_conv.h"

#include <algorithm>

namespace owl {
namespace {

bool reads_gradient(Op op) {
    return op == Op::conv_backward_data || op == Op::conv_backward_filter || op == Op::conv_backward_bias;
}

PoolOp pool_op(const PlanNode& node) { return static_cast<PoolOp>(attributes_of<PoolAttributes>(node).op); }

class Finder {
   public:
    Finder(const Plan& plan, const std::vector<Ref>& root, bool pooling_gradients)
        : plan_(plan), nodes_(plan.nodes), root_(root), pooling_gradients_(pooling_gradients) {}

    ConvolutionFusion run() {
        const size_t n = nodes_.size();
        result_.joins.assign(n, -1);
        result_.pooling_gradient.assign(n, {});
        result_.keeps_positions.assign(n, 0);
        bool any = false;
        for (const PlanNode& node : nodes_) any = any || is_convolution(node.op);
        if (!any) return std::move(result_);
        find_readers();
        for (size_t i = 0; i < n; ++i)
            if (computed(i) && nodes_[i].op == Op::pool_backward) match_pooling(static_cast<int>(i));
        for (size_t i = 0; i < n; ++i)
            if (result_.pooling_gradient[i].backward == static_cast<int>(i)) fuse_backward(static_cast<int>(i));
        for (size_t i = 0; i < n; ++i)
            if (computed(i) && nodes_[i].op == Op::conv_forward) fuse_forward(static_cast<int>(i));
        for (size_t i = 0; i < n; ++i)
            if (computed(i) && nodes_[i].op == Op::conv_backward_filter) join_bias(static_cast<int>(i));
        return std::move(result_);
    }

   private:
    bool computed(size_t i) const { return root_[i] == static_cast<Ref>(i); }
    Ref source(int i, size_t input) const {
        const Ref ref = nodes_[i].inputs[input];
        return ref >= 0 ? root_[ref] : ref;
    }
    const Shape& shape_of(Ref ref) const { return ref >= 0 ? nodes_[ref].shape : plan_.inputs[~ref].shape; }

    void find_readers() {
        readers_.resize(nodes_.size());
        seen_outside_.assign(nodes_.size(), 0);
        for (size_t i = 0; i < nodes_.size(); ++i) {
            if (nodes_[i].live && root_[i] >= 0) seen_outside_[root_[i]] = 1;
            if (!computed(i)) continue;
            for (Ref ref : nodes_[i].inputs)
                if (ref >= 0 && root_[ref] >= 0) readers_[root_[ref]].push_back(static_cast<int>(i));
        }
    }

    // Whether `reader` alone needs the value, in the shape that it has.
    bool only_for(int node, int reader) const {
        if (seen_outside_[node]) return false;
        for (int other : readers_[node])
            if (other != reader) return false;
        for (Ref ref : nodes_[reader].inputs)
            if (ref >= 0 && root_[ref] == node && shape_of(ref) != nodes_[node].shape) return false;
        return true;
    }

    bool is_unary(int node, Elementwise op) const {
        return nodes_[node].op == elementwise_op(op) && !nodes_[node].scalar_mask;
    }

    // The pooling that a pool_backward leads back through, the same window over the same data; -1: none.
    int pooling_of(int i) const {
        const PlanNode& node = nodes_[i];
        const Ref pool = source(i, 1);
        if (pool < 0 || nodes_[pool].op != Op::pool_forward || source(pool, 0) != source(i, 2)) return -1;
        if (!std::equal(node.attribute, node.attribute + words_of<PoolAttributes>(), nodes_[pool].attribute)) return -1;
        return shape_of(nodes_[pool].inputs[0]) == node.shape && nodes_[pool].dtype == node.dtype ? pool : -1;
    }

    void match_pooling(int i) {
        const PlanNode& node = nodes_[i];
        const int pool = pooling_of(i);
        if (pool_op(node) == PoolOp::max) {
            const auto window = attributes_of<PoolAttributes>(node);
            if (pool < 0 || window.w * window.h > kMaxArgmaxWindow) return;
            result_.keeps_positions[pool] = 1;
        }
        result_.pooling_gradient[i] = {i, pool, -1};
    }

    // Where it was a maximum, a relu_back by what was pooled passes a gradient where the pooled value is above 0, so it
    // can be done before the gradient is spread. The gradient of a mean is masked afterwards, by anything.
    bool masks(int reader, int i) const {
        if (!is_unary(reader, Elementwise::relu_back) || source(reader, 0) != i || !only_for(i, reader)) return false;
        const Shape& shape = nodes_[i].shape;
        if (nodes_[reader].shape != shape || shape_of(nodes_[reader].inputs[1]) != shape) return false;
        return pool_op(nodes_[i]) == PoolOp::max ? source(reader, 1) == source(i, 2) : source(reader, 1) != i;
    }

    void fuse_backward(int i) {
        FusedPoolingGradient& pooling_gradient = result_.pooling_gradient[i];
        int last = i;
        if (readers_[i].size() == 1) {
            const int reader = readers_[i][0];
            if (masks(reader, i)) {
                pooling_gradient.relu = reader;
                result_.joins[reader] = i;
                last = reader;
            }
        }
        if (!pooling_gradients_ || seen_outside_[last] || readers_[last].empty()) return;
        for (int reader : readers_[last]) {
            if (!reads_gradient(nodes_[reader].op) || source(reader, 0) != last) return;
            if (shape_of(nodes_[reader].inputs[0]) != nodes_[last].shape) return;
            for (size_t k = 1; k < nodes_[reader].inputs.size(); ++k)
                if (source(reader, k) == last) return;
        }
        for (int reader : readers_[last]) result_.pooling_gradient[reader] = pooling_gradient;
    }

    void fuse_forward(int i) {
        int last = i;
        if (readers_[i].size() == 1 && is_unary(readers_[i][0], Elementwise::relu) && only_for(i, readers_[i][0])) {
            last = readers_[i][0];
            result_.joins[last] = i;
        }
        const int pool = only_pooling_of(last);
        if (pool >= 0) result_.joins[pool] = i;
    }

    // The pooling for which alone a value is needed, those aside who do without it where the pooling is known.
    int only_pooling_of(int node) const {
        if (seen_outside_[node]) return -1;
        int pool = -1;
        for (int reader : readers_[node]) {
            if (nodes_[reader].op == Op::pool_forward && pool < 0) pool = reader;
            else if (!goes_without(reader, node)) return -1;
        }
        return pool >= 0 && shape_of(nodes_[pool].inputs[0]) == nodes_[node].shape ? pool : -1;
    }

    bool goes_without(int reader, int pooled) const {
        if (source(reader, 0) == pooled) return false;
        if (result_.pooling_gradient[reader].backward == reader) return result_.pooling_gradient[reader].pool >= 0;
        return is_unary(reader, Elementwise::relu_back) && result_.joins[reader] >= 0 &&
               pool_op(nodes_[result_.joins[reader]]) == PoolOp::max;
    }

    // The gradient of a filter is made together with that of the bias, from the same gradient.
    void join_bias(int i) {
        const Ref gradient = source(i, 0);
        for (size_t k = 0; k < nodes_.size(); ++k) {
            const int bias = static_cast<int>(k);
            if (nodes_[k].op != Op::conv_backward_bias || !computed(k) || result_.joins[k] >= 0) continue;
            if (source(bias, 0) != gradient || shape_of(nodes_[k].inputs[0]) != shape_of(nodes_[i].inputs[0])) continue;
            result_.joins[std::max(bias, i)] = std::min(bias, i);
            return;
        }
    }

    const Plan& plan_;
    const std::vector<PlanNode>& nodes_;
    const std::vector<Ref>& root_;
    const bool pooling_gradients_;
    ConvolutionFusion result_;
    std::vector<std::vector<int>> readers_;
    std::vector<char> seen_outside_;
};

}  // namespace

bool masks_by_data(const Plan& plan, const FusedPoolingGradient& pooling_gradient) {
    return pooling_gradient.relu >= 0 && pool_op(plan.nodes[pooling_gradient.backward]) == PoolOp::average;
}

bool is_convolution(Op op) { return op >= Op::conv_forward && op <= Op::lrn_backward; }

std::vector<Ref> fused_inputs(const Plan& plan, const ConvolutionFusion& fusion, int node) {
    const PlanNode& description = plan.nodes[node];
    std::vector<Ref> inputs = description.inputs;
    if (fusion.joins.empty()) return inputs;
    const FusedPoolingGradient& pooling_gradient = fusion.pooling_gradient[node];
    if (pooling_gradient.backward == node) {
        if (pooling_gradient.pool >= 0) inputs.pop_back();  // what was pooled
    } else if (pooling_gradient.backward >= 0) {
        const std::vector<Ref> spread = fused_inputs(plan, fusion, pooling_gradient.backward);
        inputs[0] = spread[0];
        // No kernel reads a mean, but its failure is that of its gradient.
        inputs.insert(inputs.end(), spread.begin() + 1, spread.end());
        if (masks_by_data(plan, pooling_gradient)) inputs.push_back(plan.nodes[pooling_gradient.relu].inputs[1]);
    } else if (description.op == elementwise_op(Elementwise::relu_back) && fusion.joins[node] >= 0 &&
               !masks_by_data(plan, fusion.pooling_gradient[fusion.joins[node]])) {
        inputs.pop_back();  // what was pooled: the pooled values will do
    }
    return inputs;
}

ConvolutionFusion find_convolutions(const Plan& plan, const std::vector<Ref>& root, bool pooling_gradients) {
    return Finder(plan, root, pooling_gradients).run();
}

}  // namespace owl
