// The executor of a remote device: its thread issues runs, and a stream does what they say.
#include <algorithm>
#include <cstring>

#include "_cpu/backend.h"
#include "_cpu/team.h"
#include "_engine/run/issuing_executor.h"
#include "memory.h"
#include "remote.h"
#include "stream.h"

namespace owl {
namespace {

class RemoteExecutor final : public IssuingExecutor {
   public:
    RemoteExecutor(const Backend& backend, IdleListener* listener) : IssuingExecutor(listener), backend_(backend) {}

    ~RemoteExecutor() override {
        stop();
        stream_.stop();
    }

    const Backend& backend() const override { return backend_; }
    Memory& memory() override { return memory_; }
    Buffer* stage(size_t bytes) override { return host_memory().allocate(bytes); }
    void quiesce() override {
        ThreadedExecutor::quiesce();
        stream_.quiesce();
    }
    void freeze() override {
        ThreadedExecutor::freeze();
        stream_.freeze();
    }
    void resume(bool in_child) override {
        stream_.resume(in_child);
        ThreadedExecutor::resume(in_child);
    }

   private:
    void begin() override {
        region_.attach();
        stream_.start();
    }

    void forget() override {
        IssuingExecutor::forget();
        region_.forget();
        scratch_bytes_ = 0;
        scratch_threads_ = 0;
    }

    void mark_end(Run* run) override {
        stream_.push([this, run] { end(run); }, true);
    }

    bool launch(const Step& step, char* args) override {
        // The next step, and the next run, write theirs over these.
        auto kept = std::make_shared<std::vector<uint64_t>>(step.args.size());
        std::memcpy(kept->data(), args, kept->size() * sizeof(uint64_t));
        auto scalars = std::make_shared<std::vector<double>>(scalars_of(step));
        if (step.scalars_field >= 0) {
            const double* place = scalars->data();
            std::memcpy(reinterpret_cast<char*>(kept->data()) + step.scalars_field, &place, sizeof place);
        }
        const Kernel& kernel = kernel_of(step);
        stream_.push([this, &kernel, kept, scalars] {
            team().enter();
            region_->run(kernel, kept->data());
            team().leave();
        });
        return true;
    }

    bool launch_upload(const Buffer* from, Buffer* to) override {
        char* target = RemoteMemory::real(to->data);
        stream_.push([from, target] { std::memcpy(target, from->data, from->bytes); });
        return true;
    }

    // Kernels under way use the scratch memory that there is.
    bool reserve_scratch(size_t bytes) override {
        const int threads = team().size();
        if (bytes <= scratch_bytes_ && threads <= scratch_threads_) return true;
        stream_.drain();
        if (!region_->reserve_scratch(bytes)) return false;
        scratch_bytes_ = std::max(scratch_bytes_, bytes);
        scratch_threads_ = threads;
        return true;
    }
    bool release_scratch() override { return false; }
    size_t scratch_threads() const override { return static_cast<size_t>(team().size()); }

    char* address_for(const Buffer* buffer, bool transfer) override {
        const bool ours = buffer->memory == &memory_, of_another = transfer && !buffer->memory->host;
        return ours || of_another ? RemoteMemory::real(buffer->data) : static_cast<char*>(buffer->data);
    }

    const Backend& backend_;
    Stream stream_;
    RemoteMemory memory_{&stream_};
    AttachedRegion region_;
    size_t scratch_bytes_ = 0;
    int scratch_threads_ = 0;
};

}  // namespace

std::unique_ptr<Executor> make_remote_executor(const Backend& backend, IdleListener* listener) {
    return std::make_unique<RemoteExecutor>(backend, listener);
}

}  // namespace owl
