#include "plan_cache.h"

#include <algorithm>

#include "_engine/graph/graph.h"
#include "_engine/memory/memory.h"
#include "plan_bin.h"

namespace owl {
namespace {
constexpr size_t kLeaveBytes = 4096;  // below that, storing costs less than keeping the operation recorded
bool is_pushed(const Node* node) { return node->runner != node->device; }
}

// Where the key goes on, with room for so many more words. The key is never shortened: one of a larger window fits.
uint64_t* Canonical::room_for(uint64_t* end, size_t words) {
    const auto used = static_cast<size_t>(end - key_.data());
    if (key_.size() - used < words) key_.resize(2 * key_.size() + words);
    return key_.data() + used;
}

bool Canonical::describe(const std::vector<Node*>& nodes, uint64_t mark, bool may_rematerialize, StoredPlaces& stored) {
    const size_t count = nodes.size();
    inputs_.clear();
    refs_.clear();
    outside_reads_.clear();
    donatable_.clear();
    readers_inside_.assign(count, 0);
    live_.resize(count);
    rematerializable_.resize(count);
    hash_ = count;
    if (!count) return true;
    bool clean = true;
    const uint16_t runner = nodes[0]->runner;
    uint64_t* word = room_for(key_.data(), 2);
    *word++ = runner;
    for (size_t i = 0; i < count; ++i) {
        Node* node = nodes[i];
        clean = clean && node->state == State::recorded && node->mark != mark && !node->rematerializable &&
                node->runner == runner;
        node->mark = mark;
        node->index = static_cast<int32_t>(i);
        word = room_for(word, 1 + static_cast<size_t>(node->shape.ndim) + node->n_attributes + node->n_inputs);
        *word++ = static_cast<uint64_t>(node->op) | static_cast<uint64_t>(node->dtype) << 16 |
                  static_cast<uint64_t>(node->scalar_mask) << 24 | static_cast<uint64_t>(node->n_attributes) << 32 |
                  static_cast<uint64_t>(is_pushed(node)) << 39 |
                  static_cast<uint64_t>(node->shape.ndim) << 40 | static_cast<uint64_t>(node->n_inputs & 0xffff) << 48;
        for (int d = 0; d < node->shape.ndim; ++d) *word++ = static_cast<uint64_t>(node->shape.dim[d]);
        for (int a = 0; a < node->n_attributes; ++a) *word++ = static_cast<uint64_t>(node->attribute[a]);
        hash_ = mix(hash_, node->signature);
        Node* const* inputs = node->inputs();
        for (uint32_t k = 0; k < node->n_inputs; ++k) {
            Node* input = inputs[k];
            if (input->mark != mark) {
                clean = clean && input->state != State::recorded;
                input->mark = mark;
                input->index = ~static_cast<int32_t>(inputs_.size());
                inputs_.push_back(input);
                outside_reads_.push_back(1);
            } else if (input->index >= 0) {
                ++readers_inside_[input->index];
            } else {
                ++outside_reads_[~input->index];
            }
            refs_.push_back(input->index);
            *word = static_cast<uint64_t>(static_cast<int64_t>(input->index));
            hash_ = mix(hash_, *word++);
        }
    }
    for (size_t e = 0; e < inputs_.size(); ++e) {
        const Node* input = inputs_[e];
        donatable_.push_back(input->handles == 0 && input->readers == outside_reads_[e]);
        word = room_for(word, 1 + static_cast<size_t>(input->shape.ndim));
        *word = static_cast<uint64_t>(input->dtype) | static_cast<uint64_t>(input->shape.ndim) << 8 |
                static_cast<uint64_t>(donatable_.back()) << 16 |
                static_cast<uint64_t>(graph().memory_of(input->device).number) << 24;
        hash_ = mix(hash_, *word++);
        for (int d = 0; d < input->shape.ndim; ++d) *word++ = static_cast<uint64_t>(input->shape.dim[d]);
    }
    word = room_for(word, (count + 31) / 32);
    uint64_t bits = 0;
    for (size_t i = 0; i < count; ++i) {
        const Node* node = nodes[i];
        const bool read_outside = node->readers > readers_inside_[i];
        live_[i] = node->handles > 0 || read_outside;
        rematerializable_[i] = may_rematerialize && live_[i] && readers_inside_[i] && !read_outside &&
                               !node->rematerializable && !node->pins && node->bytes() >= kLeaveBytes && !stored.contains(node);
        bits |= static_cast<uint64_t>(live_[i] | rematerializable_[i] << 1) << (2 * (i & 31));
        if ((i & 31) == 31 || i + 1 == count) {
            *word++ = bits;
            hash_ = mix(hash_, bits);
            bits = 0;
        }
    }
    key_size_ = static_cast<size_t>(word - key_.data());
    return clean;
}

bool Canonical::may_rematerialize() const {
    return std::find(rematerializable_.begin(), rematerializable_.end(), 1) != rematerializable_.end();
}

std::shared_ptr<Plan> Canonical::begin_plan(const std::vector<Node*>& nodes) {
    operands_.clear();
    for (const Node* node : nodes) operands_.push_back(node->n_inputs);
    auto plan = new_plan();
    plan->device = nodes[0]->runner;
    plan->memory = graph().memory_of(plan->device).number;
    for (size_t e = 0; e < inputs_.size(); ++e)
        plan->inputs.push_back({inputs_[e]->shape, inputs_[e]->dtype, donatable_[e] != 0,
                                graph().memory_of(inputs_[e]->device).number});
    return plan;
}

void Canonical::describe_nodes(const std::vector<Node*>& nodes, Plan* plan) const {
    plan->key.assign(key_.begin(), key_.begin() + static_cast<long>(key_size_));
    plan->hash = hash_;
    size_t ref = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
        const Node* node = nodes[i];
        PlanNode description{};
        description.op = node->op;
        description.dtype = node->dtype;
        description.live = live_[i];
        description.rematerializable = rematerializable_[i];  // if the planner finds that it may
        description.pushed = is_pushed(node);
        description.scalar_mask = node->scalar_mask;
        description.shape = node->shape;
        std::copy_n(node->attribute, node->n_attributes, description.attribute);
        // The node may have let go of its operands.
        description.inputs.assign(refs_.begin() + static_cast<long>(ref), refs_.begin() + static_cast<long>(ref + operands_[i]));
        ref += operands_[i];
        description.first_scalar = plan->n_scalars;
        description.first_argument = plan->n_arguments;
        plan->n_scalars += node->n_scalars;
        plan->n_arguments += node->n_arguments;
        plan->nodes.push_back(std::move(description));
    }
}

std::shared_ptr<Plan> PlanCache::find(const Canonical& window) {
    const std::shared_ptr<Plan>* found = plans_.find(window.hash());
    return found && window.same_key(**found) ? *found : nullptr;
}

void PlanCache::insert(std::shared_ptr<Plan> plan) {
    const uint64_t hash = plan->hash;
    plans_[hash] = std::move(plan);
}

}  // namespace owl
