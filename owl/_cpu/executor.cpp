// The executor of one CPU device: its thread shares each kernel out to the team.
#include <cstring>

#include "_engine/memory/memory.h"
#include "_engine/run/threaded_executor.h"
#include "backend.h"
#include "team.h"

namespace owl {
namespace {

class CpuExecutor final : public ThreadedExecutor {
   public:
    CpuExecutor(const Backend& backend, IdleListener* listener) : ThreadedExecutor(listener), backend_(backend) {}

    ~CpuExecutor() override { stop(); }

    const Backend& backend() const override { return backend_; }
    Memory& memory() override { return host_memory(); }
    Buffer* stage(size_t bytes) override { return host_memory().allocate(bytes); }
    bool has_room(int bound) override { return backlog() < bound; }

   private:
    void begin() override { region_.attach(); }
    void forget() override { region_.forget(); }

    void execute(Run* run) override {
        result_.buffers.assign(run->outputs.size(), nullptr);
        result_.failures.assign(run->outputs.size(), nullptr);
        {
            std::unique_lock<GraphLock> lock(graph().mutex);
            run->begun = true;
            if (bind(run)) {
                lock.unlock();
                perform(run);
                lock.lock();
            }
            count_end();
            finish_run(run, &result_);
            let_go_of_failures();
            recycle_run(run);
        }
        result_.buffers.clear();
    }

    // A CPU's leaves are filled where they are made.
    bool launch_upload(const Buffer* from, Buffer* to) override {
        std::memcpy(to->data, from->data, from->bytes);
        return true;
    }
    bool launch(const Step& step, char* args) override {
        region_->run(kernel_of(step), args);
        return true;
    }
    bool reserve_scratch(size_t bytes) override { return region_->reserve_scratch(bytes); }
    bool release_scratch() override { return region_->release_scratch(); }
    size_t scratch_threads() const override { return static_cast<size_t>(team().size()); }
    void enter() override { team().enter(); }
    void leave() override { team().leave(); }

    const Backend& backend_;
    AttachedRegion region_;
};

}  // namespace

std::unique_ptr<Executor> make_cpu_executor(const Backend& backend, IdleListener* listener) {
    return std::make_unique<CpuExecutor>(backend, listener);
}

}  // namespace owl
