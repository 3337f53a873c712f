#include "plan_cache.h"

namespace owl {
namespace {
constexpr size_t kLeaveBytes = 4096;  // below that, storing costs less than keeping the operation recorded
}

bool WindowHistory::is_regular(const std::vector<Node*>& nodes) {
    uint64_t hash = nodes.size();
    for (const Node* node : nodes) hash = mix(hash, node->signature ^ (node->handles ? 1 : 0));
    if (seen_.size() > 8192) seen_.clear();
    const bool known = !seen_.insert(hash).second;
    known_ = (known_ << 1 | known) & 0xffff;
    if (count_ < 17) ++count_;
    return known || count_ < 17 || __builtin_popcount(known_) >= 12;
}

size_t chunk_end(const std::vector<Node*>& nodes, size_t begin) {
    constexpr size_t kShortest = 4, kLongest = 16;
    size_t end = begin;
    while (end < nodes.size()) {
        const Node* node = nodes[end++];
        const size_t length = end - begin;
        if (length >= kLongest || (length >= kShortest && (node->signature >> 9) % 4 == 0)) break;
    }
    return end;
}

void Canonical::describe(const std::vector<Node*>& nodes, uint64_t mark, bool may_leave, const StoredPlaces& stored) {
    key_.clear();
    inputs_.clear();
    refs_.clear();
    live_.assign(nodes.size(), 0);
    readers_inside_.assign(nodes.size(), 0);
    for (size_t i = 0; i < nodes.size(); ++i) {
        nodes[i]->mark = mark;
        nodes[i]->index = static_cast<int32_t>(i);
    }
    donatable_.clear();
    outside_reads_.clear();
    key_.push_back(nodes.empty() ? 0 : nodes[0]->device);
    for (const Node* node : nodes) {
        key_.push_back(static_cast<uint64_t>(node->op) | static_cast<uint64_t>(node->dtype) << 16 |
                       static_cast<uint64_t>(node->scalar_mask) << 24 | static_cast<uint64_t>(node->n_attributes) << 32 |
                       static_cast<uint64_t>(node->shape.ndim) << 40 | static_cast<uint64_t>(node->n_inputs & 0xffff) << 48);
        key_.insert(key_.end(), node->shape.dim, node->shape.dim + node->shape.ndim);
        for (int a = 0; a < node->n_attributes; ++a) key_.push_back(static_cast<uint64_t>(node->attribute[a]));
        for (uint32_t k = 0; k < node->n_inputs; ++k) {
            Node* input = node->inputs()[k];
            if (input->mark == mark && input->index >= 0) {
                ++readers_inside_[input->index];
                refs_.push_back(input->index);
            } else if (input->mark == mark) {
                refs_.push_back(input->index);
                ++outside_reads_[~input->index];
            } else {
                input->mark = mark;
                input->index = ~static_cast<int32_t>(inputs_.size());
                refs_.push_back(input->index);
                inputs_.push_back(input);
                outside_reads_.push_back(1);
            }
            key_.push_back(static_cast<uint64_t>(static_cast<int64_t>(refs_.back())));
        }
    }
    for (size_t e = 0; e < inputs_.size(); ++e) {
        const Node* input = inputs_[e];
        donatable_.push_back(input->handles == 0 && input->readers == outside_reads_[e]);
        key_.push_back(static_cast<uint64_t>(input->dtype) | static_cast<uint64_t>(input->shape.ndim) << 8 |
                       static_cast<uint64_t>(donatable_.back()) << 16);
        key_.insert(key_.end(), input->shape.dim, input->shape.dim + input->shape.ndim);
    }
    leavable_.assign(nodes.size(), 0);
    uint64_t word = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
        const bool read_outside = nodes[i]->readers > readers_inside_[i];
        live_[i] = nodes[i]->handles > 0 || read_outside;
        leavable_[i] = may_leave && live_[i] && readers_inside_[i] && !read_outside && !nodes[i]->leftover &&
                       !nodes[i]->pins && nodes[i]->bytes() >= kLeaveBytes && !stored.contains(nodes[i]);
        word |= static_cast<uint64_t>(live_[i] | leavable_[i] << 1) << (2 * (i & 31));
        if ((i & 31) == 31 || i + 1 == nodes.size()) {
            key_.push_back(word);
            word = 0;
        }
    }
    hash_ = 0;
    for (uint64_t part : key_) hash_ = mix(hash_, part);
}

std::shared_ptr<Plan> Canonical::make_plan(const std::vector<Node*>& nodes) const {
    auto plan = std::make_shared<Plan>();
    plan->key = key_;
    plan->hash = hash_;
    plan->device = nodes[0]->device;
    size_t ref = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
        const Node* node = nodes[i];
        PlanNode description;
        description.op = node->op;
        description.dtype = node->dtype;
        description.live = live_[i];
        description.leftover = leavable_[i];  // if the planner finds that it may
        description.scalar_mask = node->scalar_mask;
        description.shape = node->shape;
        std::memcpy(description.attribute, node->attribute, sizeof node->attribute);
        description.inputs.assign(refs_.begin() + static_cast<long>(ref), refs_.begin() + static_cast<long>(ref + node->n_inputs));
        ref += node->n_inputs;
        description.first_scalar = plan->n_scalars;
        description.first_argument = plan->n_arguments;
        plan->n_scalars += node->n_scalars;
        plan->n_arguments += node->n_arguments;
        plan->nodes.push_back(std::move(description));
    }
    for (size_t e = 0; e < inputs_.size(); ++e)
        plan->inputs.push_back({inputs_[e]->shape, inputs_[e]->dtype, donatable_[e] != 0});
    return plan;
}

Run* Canonical::make_run(const std::vector<Node*>& nodes, std::shared_ptr<Plan> plan) const {
    auto* run = new Run;
    run->device = plan->device;
    run->inputs = inputs_;
    run->scalars.reserve(plan->n_scalars);
    run->arguments.reserve(plan->n_arguments);
    run->sites.reserve(nodes.size());
    for (const Node* node : nodes) {
        run->scalars.insert(run->scalars.end(), node->scalar, node->scalar + node->n_scalars);
        run->arguments.insert(run->arguments.end(), node->argument, node->argument + node->n_arguments);
        run->sites.push_back(node->site);
    }
    run->outputs.reserve(plan->outputs.size());
    for (const PlanOutput& output : plan->outputs) run->outputs.push_back(nodes[output.node]);
    run->plan = std::move(plan);
    return run;
}

std::shared_ptr<Plan> PlanCache::find(const Canonical& window) {
    auto [first, last] = plans_.equal_range(window.hash());
    for (auto it = first; it != last; ++it) {
        if ((*it->second)->key != window.key()) continue;
        order_.splice(order_.begin(), order_, it->second);
        return order_.front();
    }
    return nullptr;
}

void PlanCache::insert(std::shared_ptr<Plan> plan) {
    while (order_.size() >= capacity_ && !order_.empty()) {
        auto oldest = std::prev(order_.end());
        auto [first, last] = plans_.equal_range((*oldest)->hash);
        for (auto it = first; it != last; ++it) {
            if (it->second == oldest) {
                plans_.erase(it);
                break;
            }
        }
        order_.erase(oldest);
    }
    order_.push_front(std::move(plan));
    plans_.emplace(order_.front()->hash, order_.begin());
}

void PlanCache::clear() {
    plans_.clear();
    order_.clear();
}

}  // namespace owl
