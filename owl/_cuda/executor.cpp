// The executor of one CUDA device: its thread launches a run's steps and goes on with the next run; the queues of its two streams
// see when work is over.
#include <algorithm>
#include <condition_variable>
#include <cstring>

#include "_engine/run/issuing_executor.h"
#include "backend.h"
#include "block_sizes.h"
#include "functions.h"
#include "graphs.h"
#include "lending.h"
#include "memory.h"
#include "pulls.h"

namespace owl {
namespace cuda {
namespace {

constexpr Result kInvalidDevice = 101;
constexpr size_t kPiece = size_t{32} << 20;  // bytes that are fetched at a time: as much pinned memory is kept

constexpr const char* kForked =
    "CUDA cannot be used in a forked child: start the process by multiprocessing's \"spawn\" or \"forkserver\" instead";

// By the numbers of their memories. Guarded by its lock; devices are never destroyed.
struct Devices {
    std::mutex mutex;
    std::vector<std::pair<int, const Device*>> all;
};
Devices& devices() {
    static auto* instance = new Devices;
    return *instance;
}

const Device* device_of_memory(int number) {
    std::lock_guard<std::mutex> guard(devices().mutex);
    for (const auto& [memory, device] : devices().all)
        if (memory == number) return device;
    return nullptr;
}

class CudaExecutor final : public IssuingExecutor, private Courier {
   public:
    CudaExecutor(const Device& device, const Backend& backend, IdleListener* listener)
        : IssuingExecutor(listener), device_(device), backend_(backend) {
        std::lock_guard<std::mutex> guard(devices().mutex);
        devices().all.push_back({memory_.number, &device_});
        offer_to_lend(device_.index, &memory_);
    }

    const Backend& backend() const override { return backend_; }
    Memory& memory() override { return memory_; }
    Buffer* stage(size_t bytes) override {
        Buffer* pinned = pinned_.allocate(bytes);
        return pinned ? pinned : host_memory().allocate(bytes);
    }

    void submit(Run* run) override {
        if (run->upload) tell_of_access(run->upload, true);
        IssuingExecutor::submit(run);
    }

    void abort() override {
        ThreadedExecutor::abort();
        quarantine_.stop();
    }
    void freeze() override {
        ThreadedExecutor::freeze();
        computing_.freeze();
        copying_.freeze();
        quarantine_.freeze();
    }
    void resume(bool in_child) override {
        quarantine_.resume(in_child);
        copying_.resume(in_child);
        computing_.resume(in_child);
        ThreadedExecutor::resume(in_child);
    }

   private:
    // ------------------------------------------------------------------------------------------------------- threads

    // A forked child's thread fails what comes, and leaves the driver alone.
    void begin() override {
        if (forked_.load()) return;
        computing_.start();
        copying_.start();
    }
    void enter_thread() override {
        if (!forked_.load()) device_.driver->push_context(device_.context);
    }
    void forget() override {
        IssuingExecutor::forget();
        forked_.store(true);
        pinned_.forget_driver();
    }

    bool must_stop() const override {
        return ThreadedExecutor::must_stop() || lost_.load(std::memory_order_acquire) || forked_.load(std::memory_order_acquire);
    }
    Failure* stop_reason() const override {
        if (forked_.load()) return new Failure(FailureKind::forked, kForked);
        const std::string* lost = lost_.load(std::memory_order_acquire);
        return lost ? new Failure(FailureKind::device, *lost) : ThreadedExecutor::stop_reason();
    }

    // ---------------------------------------------------------------------------------------------------------- runs

    void begin_run(const Run* run) override {
        launched_ = false;
        if (run->plan) issued_.fetch_add(1, std::memory_order_release);
    }

    void mark_end(Run* run) override {
        const bool copied = run->upload && !is_there(run->upload);
        const Result unordered = pulls_.order_all();  // the run ends with its computing
        (copied ? copying_ : computing_).mark([this, run, unordered](Result error, bool lost) {
            if (!error) error = unordered;
            end(run, error ? failure_of_device(run, error, lost) : nullptr);
        });
    }

    void before_end(const Run* run, bool failed) override {
        if (run->plan) over_.fetch_add(1, std::memory_order_release);
        if (failed || !device_.driver->host_access) return;
        // The host may read what was sent to it.
        for (const Node* node : run->outputs)
            if (node->issued && node->buffer) tell_of_access(node->buffer, false);
    }

    // All operations of the run are named: the driver does not tell which it was.
    Failure* failure_of_device(Run* run, Result error, bool lost) {
        auto* failure = new Failure(FailureKind::device, "CUDA: " + device_.driver->describe(error));
        if (lost) lose(failure->message);
        if (!run->plan) return failure;
        std::vector<int32_t> all;
        for (const Step& step : run->plan->steps) all.insert(all.end(), step.operations.begin(), step.operations.end());
        failure->origins = origins(all, run, *run->plan);
        return failure;
    }

    void tell_of_access(const Buffer* buffer, bool written) const {
        if (device_.driver->host_access && buffer->memory->host) device_.driver->host_access(buffer->data, buffer->bytes, written);
    }

    // The driver answers with an error whatever it is asked from now on.
    void lose(const std::string& message) {
        const std::string* none = nullptr;
        auto* told = new std::string(message + "; the device cannot be used any more in this process");
        if (!lost_.compare_exchange_strong(none, told)) delete told;
    }

    // --------------------------------------------------------------------------------------------------------- steps

    char* address_for(const Buffer* buffer, bool transfer) override {
        if (!transfer) pulls_.touch(buffer->data, buffer->bytes);
        if (lies_here(buffer)) filled_by_ = std::max(filled_by_, buffer->block->filled_by);
        return static_cast<char*>(buffer->data);
    }

    bool launch(const Step& step, char* args) override {
        const auto& call = *static_cast<const Call*>(step.kernel);
        error_ = wait_for_copies();
        missing_ = call.kind == CallKind::missing;
        if (missing_) return false;
        if (call.kind != CallKind::copy) launched_ = true;
        blas_error_ = kSuccess;
        if (!error_ && call.kind == CallKind::product)
            blas_error_ = multiply(device_.blas, *reinterpret_cast<const BlasProduct*>(args));
        if (!error_ && call.kind == CallKind::copy) error_ = copy(*reinterpret_cast<const Transfer*>(args));
        for (int i = 0; i < call.n_launches && !error_; ++i)
            error_ = launch_kernel(call.launches[i], function_of(device_, call, i), args);
        if (device_.blocking && !error_) error_ = device_.driver->synchronize_stream(device_.compute);
        return !error_ && !blas_error_;
    }

    size_t steps_together(Plan* plan) override { return device_.blocking ? 0 : graphs_.wanted(plan); }

    bool launch_together(const Plan& plan) override {
        launched_ = true;
        return wait_for_copies() == kSuccess && graphs_.launch(plan, issued_.load(), over_.load());
    }

    // What the step in hand touches may still be filled by the copy stream.
    Result wait_for_copies() {
        const uint64_t last = filled_by_;
        filled_by_ = 0;
        if (const Result error = pulls_.order_step()) return error;
        if (last <= waited_for_) return kSuccess;
        const Result error = copying_.wait_in(device_.compute, last);
        if (!error) waited_for_ = last;
        return error;
    }

    Result launch_kernel(const Launch& launch, Function function, void* args) {
        return device_.driver->launch(function, launch.blocks, 1, 1, block_size(launch.kernel), 1, 1, 0, device_.compute, &args,
                                      nullptr);
    }

    // To and from the host in the order of computing; from another device beside it. A step between devices waits on the host
    // until its input exists, so what it reads is there.
    Result copy(const Transfer& transfer) {
        const Driver& driver = *device_.driver;
        const auto from = reinterpret_cast<Address>(transfer.from), to = reinterpret_cast<Address>(transfer.to);
        if (transfer.from_memory != kHostMemory && transfer.to_memory != kHostMemory) {
            const Device* source = device_of_memory(transfer.from_memory);
            if (!source) return kInvalidDevice;
            const bool busy = launched_ || over_.load(std::memory_order_acquire) + 1 < issued_.load();
            const Result error = pulls_.pull(transfer.to, transfer.from, *source, transfer.bytes, busy);
            return error || !device_.blocking ? error : driver.synchronize_stream(device_.copy);
        }
        launched_ = true;
        if (const Result error = pulls_.order_all()) return error;
        if (transfer.to_memory == kHostMemory) return driver.copy_to_host(transfer.to, from, transfer.bytes, device_.compute);
        return driver.copy_to_device(to, transfer.from, transfer.bytes, device_.compute);
    }

    bool launch_upload(const Buffer* from, Buffer* to) override {
        error_ = device_.driver->copy_to_device(reinterpret_cast<Address>(to->data), from->data, from->bytes, device_.copy);
        if (!error_) to->block->filled_by = copying_.next();
        return !error_;
    }

    std::string launch_error() override {
        if (missing_) return "owl has no CUDA kernel for this operation yet; compute it on a CPU device";
        return error_ ? "CUDA: " + device_.driver->describe(error_) : "cuBLAS: " + device_.blas.library->describe(blas_error_);
    }

    // Copies run beside computing: not into memory that something issued still reads or writes.
    Buffer* upload_target(size_t bytes) override { return memory_.allocate(bytes, true); }
    Memory& host_side() override { return pinned_; }
    bool reserve_scratch(size_t) override { return true; }
    size_t scratch_threads() const override { return 0; }
    bool release_scratch() override { return quarantine_.empty(); }

    // ------------------------------------------------------------------------------------------------------- courier

    // One thing that another thread waits for.
    struct Asked : Errand {
        std::function<void(Asked*)> work;
        std::mutex mutex;
        std::condition_variable changed;
        bool over = false;
        Result error = kSuccess;

        void execute() override { work(this); }
        void end(Result result) {
            std::lock_guard<std::mutex> guard(mutex);
            error = result;
            over = true;
            changed.notify_all();  // with the lock: the one that waits deletes this
        }
        void wait() {
            std::unique_lock<std::mutex> lock(mutex);
            changed.wait(lock, [this] { return over; });
        }
    };

    std::string fetch(const Buffer* from, void* to, size_t bytes) override {
        if (!bytes) return {};
        if (forked_.load()) return kForked;
        Buffer* lease = pinned_.allocate(std::min(bytes, kPiece));
        std::string problem;
        for (size_t at = 0; at < bytes && problem.empty(); at += kPiece) {
            const size_t size = std::min(bytes - at, kPiece);
            char* target = lease ? static_cast<char*>(lease->data) : static_cast<char*>(to) + at;
            problem = fetch_piece(static_cast<const char*>(from->data) + at, target, size);
            if (!lease || !problem.empty()) continue;
            if (device_.driver->host_access) device_.driver->host_access(target, size, 0);
            std::memcpy(static_cast<char*>(to) + at, target, size);
        }
        if (lease) lease->release();
        return problem;
    }

    std::string fetch_piece(const char* from, void* to, size_t size) {
        if (const std::string* lost = lost_.load(std::memory_order_acquire)) return *lost;
        Asked asked;
        asked.work = [this, from, to, size](Asked* self) {
            const Result error =
                device_.driver->copy_to_host(to, reinterpret_cast<Address>(from), size, device_.copy);
            if (error) return self->end(error);
            copying_.mark([self](Result result, bool) { self->end(result); });
        };
        if (!send(&asked)) return "the system gives no more threads";
        asked.wait();
        return asked.error ? "CUDA: " + device_.driver->describe(asked.error) : std::string();
    }

    // For another's work, which is not in the order of computing.
    Buffer* allocate_at_rest(size_t bytes) {
        Buffer* buffer = memory_.allocate(bytes, true);
        return buffer || !quarantine_.empty() ? buffer : memory_.allocate(bytes, true);
    }

    std::string duplicate(const Buffer* from, Buffer** to) override {
        if (forked_.load()) return kForked;
        if (const std::string* lost = lost_.load(std::memory_order_acquire)) return *lost;
        Asked asked;
        asked.work = [this, from, to](Asked* self) {
            *to = allocate_at_rest(from->bytes);
            if (!*to) return self->end(kOutOfMemory);
            if (!from->bytes) return self->end(kSuccess);
            const Result error =
                device_.driver->copy_between(reinterpret_cast<Address>((*to)->data), device_.context,
                                             reinterpret_cast<Address>(from->data), device_.context, from->bytes, device_.copy);
            if (error) return self->end(error);
            copying_.mark([self](Result result, bool) { self->end(result); });
        };
        if (!send(&asked)) return "the system gives no more threads";
        asked.wait();
        if (!asked.error) return {};
        if (*to) (*to)->release();
        *to = nullptr;
        return "CUDA: " + device_.driver->describe(asked.error);
    }

    Buffer* lend(size_t bytes) override {
        if (forked_.load()) return nullptr;
        Buffer* lent = nullptr;
        Asked asked;
        asked.work = [this, bytes, &lent](Asked* self) {
            lent = allocate_at_rest(bytes);
            self->end(kSuccess);
        };
        if (send(&asked, true)) asked.wait();
        return lent;
    }

    void drop_all_cached() override {
        if (forked_.load()) return;
        Asked asked;
        asked.work = [this](Asked* self) {
            memory_.trim_here();
            self->end(kSuccess);
        };
        if (send(&asked)) asked.wait();  // a device that has not computed has nothing
        pinned_.trim();
    }

    void settle() override {
        device_.driver->synchronize_stream(device_.compute);
        device_.driver->synchronize_stream(device_.copy);
    }
    uint64_t runs_issued() const override { return issued_.load(std::memory_order_acquire); }
    bool are_over(uint64_t runs) const override { return over_.load(std::memory_order_acquire) >= runs; }

    const Device device_;
    const Backend& backend_;
    Quarantine quarantine_{device_};
    DeviceMemory memory_{device_, this, &quarantine_};
    PinnedMemory pinned_{device_};
    Queue computing_{device_, device_.compute, device_.compute_events};
    Queue copying_{device_, device_.copy, device_.copy_events};
    std::atomic<uint64_t> issued_{0}, over_{0};  // runs of plans
    std::atomic<const std::string*> lost_{nullptr};
    std::atomic<bool> forked_{false};

    Graphs graphs_{device_};
    Pulls pulls_{device_, &computing_, &copying_};
    bool launched_ = false;  // computing has something of the run in hand
    uint64_t waited_for_ = 0;  // computing comes after the copies up to this mark

    // The step in hand.
    uint64_t filled_by_ = 0;
    Result error_ = kSuccess;
    BlasStatus blas_error_ = kSuccess;
    bool missing_ = false;
};

}  // namespace
}  // namespace cuda

std::unique_ptr<Executor> make_cuda_executor(const cuda::Device& device, const Backend& backend, IdleListener* listener) {
    return std::make_unique<cuda::CudaExecutor>(device, backend, listener);
}

}  // namespace owl
