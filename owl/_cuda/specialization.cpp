#include "specialization.h"

#include <algorithm>

namespace owl {
namespace cuda {

namespace {

// As the space itself lies, the first dimension fastest.
bool is_dense(const ElementwiseLaunch& a, int input) {
    int64_t dense = 1;
    for (int d = 0; d < a.ndim; ++d) {
        if (a.shape[d] != 1 && a.stride[input][d] != dense) return false;
        dense *= a.shape[d];
    }
    return true;
}

}  // namespace

std::string program_code(const ElementwiseLaunch& a, DType dtype, bool wide, int n_scalars) {
    std::string code;
    auto put = [&code](auto... values) { (code.push_back(static_cast<char>(values)), ...); };
    const int dimensions = a.n_sums ? 2 : a.ndim;  // with sums: rows and columns
    put(dtype, wide, dimensions, n_scalars, a.n_inputs, a.n_outputs, a.n_sums, a.n_instructions);
    for (int k = 0; k < a.n_inputs; ++k) {
        int moving = 0;
        for (int d = 0; d < dimensions; ++d) moving |= (a.stride[k][d] != 0) << d;
        const bool dense = !a.n_sums && is_dense(a, k);
        put(a.input_type[k], dense, dense ? 0 : moving);
    }
    for (int k = 0; k < a.n_outputs; ++k) put(a.output_type[k], a.output_register[k]);
    for (int s = 0; s < a.n_sums; ++s) put(a.sum_register[s]);
    for (int i = 0; i < a.n_instructions; ++i) {
        const Instruction& in = a.instruction[i];
        put(in.op, in.dst, in.a, in.b, in.c);
    }
    return code;
}

Function Specialization::next() {
    const Function own = function_.load(std::memory_order_acquire);
    if (own) {
        launches_.fetch_add(1, std::memory_order_relaxed);
        return own;
    }
    if (runs_ < owner_.threshold_) ++runs_;
    if (runs_ == owner_.threshold_ && !asked_) asked_ = owner_.ask(shared_from_this());
    return nullptr;
}

std::shared_ptr<Specialization> Specializer::find(int device, std::string code) {
    const std::string place = std::to_string(device) + ':' + code;
    std::lock_guard<std::mutex> guard(mutex_);
    auto& known = known_[place];
    std::shared_ptr<Specialization> found = known.lock();
    if (!found) {
        found = std::make_shared<Specialization>(this, device, std::move(code));
        known = found;
        if (known_.size() > tidy_at_) forget_dead();
    }
    return found;
}

void Specializer::forget_dead() {
    for (auto it = known_.begin(); it != known_.end();) it = it->second.expired() ? known_.erase(it) : std::next(it);
    tidy_at_ = std::max<size_t>(64, 2 * known_.size());
}

bool Specializer::ask(std::shared_ptr<Specialization> program) {
    std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    if (closed_ || accepted_ == kMost) return true;
    ++accepted_;
    asked_.push_back(std::move(program));
    lock.unlock();
    changed_.notify_all();
    return true;
}

const Specialization* Specializer::take() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !asked_.empty(); });
    if (closed_) return nullptr;
    taken_ = std::move(asked_.front());
    asked_.pop_front();
    return taken_.get();
}

void Specializer::finish(Function function) {
    std::shared_ptr<Specialization> dropped;  // without the lock
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (function) {
            taken_->function_.store(function, std::memory_order_release);
            made_.push_back(taken_);
        } else {
            ++failed_;
        }
        dropped = std::move(taken_);
    }
    changed_.notify_all();
}

void Specializer::close() {
    std::deque<std::shared_ptr<Specialization>> dropped;
    {
        std::lock_guard<std::mutex> guard(mutex_);
        closed_ = true;
        dropped.swap(asked_);
    }
    changed_.notify_all();
}

void Specializer::wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || (asked_.empty() && !taken_); });
}

SpecializerCounts Specializer::counts() {
    std::lock_guard<std::mutex> guard(mutex_);
    SpecializerCounts now{asked_.size() + (taken_ ? 1 : 0), made_.size(), failed_, 0};
    for (const auto& made : made_) now.launches += made->launches_.load(std::memory_order_relaxed);
    return now;
}

void Specializer::unlock_after_fork(bool in_child) {
    if (in_child) closed_ = true;
    mutex_.unlock();
}

}  // namespace cuda
}  // namespace owl
