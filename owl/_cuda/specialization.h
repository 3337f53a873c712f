// Kernels of their own for element-wise programs that run often. The device's thread counts runs and asks for a kernel once; a
// thread of the process has it compiled, and from then on it is launched in the interpreter's place, with the same arguments.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "driver.h"
#include "kernels/args.h"

namespace owl {
namespace cuda {

// The program of a launch with all that is a constant in its kernel: instructions, types, and which strides there are. Programs
// of one code share a kernel. specialized.py reads it.
std::string program_code(const ElementwiseLaunch& args, DType dtype, bool wide, int n_scalars);

class Specializer;

// A program on a device. Plans that hold the same program share it.
class Specialization : public std::enable_shared_from_this<Specialization> {
   public:
    Specialization(Specializer* owner, int device, std::string code) : device(device), code(std::move(code)), owner_(*owner) {}

    const int device;  // by the executor's number
    const std::string code;

    // The kernel for the next run, which counts; nullptr: the interpreter. By the device's thread, which never waits here.
    Function next();
    bool is_made() const { return function_.load(std::memory_order_acquire); }

   private:
    friend Specializer;

    Specializer& owner_;
    uint32_t runs_ = 0;
    bool asked_ = false;
    std::atomic<Function> function_{nullptr};
    std::atomic<uint64_t> launches_{0};  // of it
};

struct SpecializerCounts {
    uint64_t waiting, made, failed, launches;
};

class Specializer {
   public:
    static constexpr size_t kMost = 256;  // kernels of a process: their memory is never given back

    // A program gets a kernel after so many runs.
    explicit Specializer(uint32_t runs) : threshold_(runs) {}

    // Any thread.
    std::shared_ptr<Specialization> find(int device, std::string code);

    // For the thread that compiles. Waits; nullptr: there is no more to do. What is taken is to be finished before the next.
    const Specialization* take();
    void finish(Function function);  // nullptr: none could be made

    // Nothing is asked for any more.
    void close();
    // Until all that was asked for is finished. Any thread.
    void wait();
    SpecializerCounts counts();

    void lock_for_fork() { mutex_.lock(); }
    void unlock_after_fork(bool in_child);  // a child has no thread that compiles

   private:
    friend Specialization;

    // False: another thread is here now.
    bool ask(std::shared_ptr<Specialization> program);
    void forget_dead();

    const uint32_t threshold_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::unordered_map<std::string, std::weak_ptr<Specialization>> known_;  // by device and code
    size_t tidy_at_ = 64;
    std::deque<std::shared_ptr<Specialization>> asked_;
    std::shared_ptr<Specialization> taken_;
    std::vector<std::shared_ptr<Specialization>> made_;  // kept for plans to come
    size_t accepted_ = 0;
    uint64_t failed_ = 0;
    bool closed_ = false;
};

}  // namespace cuda
}  // namespace owl
