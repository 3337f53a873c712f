// One run at a time, of any kind of device: finds its inputs, reserves its memory, gives each step its arguments, and knows
// who fails with whom. What inherits from it adds threads, and how a step is launched.
#pragma once
#include "_engine/memory/memory.h"
#include "executor.h"

namespace owl {

class Execution : public Executor {
   protected:
    // ---------------------------------------------------------------------------------------- what those that inherit add
    // Has a step computed, with arguments that are complete. They are overwritten when this returns. False if the device
    // refuses: launch_error() says why.
    virtual bool launch(const Step& step, char* args) = 0;
    // Has bytes of the host's memory copied to the device's; the caller keeps `from` alive until the run ends.
    virtual bool launch_upload(const Buffer* from, Buffer* to) = 0;
    virtual std::string launch_error() { return {}; }
    // For a device to which steps of a plan can be given in one call: how many of the first ones it wants to have so in this run.
    // They get their arguments before launch_together(), which returns false where it has launched nothing: then each of them is
    // launched by itself, as all others are.
    virtual size_t steps_together(Plan*) { return 0; }
    virtual bool launch_together(const Plan&) { return false; }
    // What is uploaded lies in the device's memory already: it exists when the device comes to it.
    bool is_there(const Buffer* upload) { return upload->memory == &memory(); }
    // Memory of the device for an upload, which may be copied beside the order of computing.
    virtual Buffer* upload_target(size_t bytes) { return memory().allocate(bytes); }
    // Where values that are sent to the host lie.
    virtual Memory& host_side() { return host_memory(); }
    // What a kernel needs besides arrays, so many bytes for each of its threads; false if they are refused.
    virtual bool reserve_scratch(size_t bytes) = 0;
    virtual size_t scratch_threads() const = 0;
    virtual bool release_scratch() = 0;  // false if there is none
    // Around the time in which steps are launched.
    virtual void enter() {}
    virtual void leave() {}
    // Before each step: holds still where a fork wants it.
    virtual void pause_if_asked() = 0;
    // Nothing more is computed: the program is ending, or the device cannot go on. The failure of what is dropped.
    virtual bool must_stop() const = 0;
    virtual Failure* stop_reason() const = 0;
    // A buffer's address as kernels take it, or the copy that a transfer is: only that reads another memory.
    virtual char* address_for(const Buffer* buffer, bool /*transfer*/) { return static_cast<char*>(buffer->data); }

    // ------------------------------------------------------------------------------------------- for those that inherit
    // Under the graph's lock. Finds the inputs. Returns false if the outputs can no longer be seen, or if the executor is
    // to stop: then the run must end before the lock is released.
    bool bind(Run* run);
    // Without the lock. Launches the steps, or the copy of an upload; `result_` says what has come of the outputs.
    void perform(Run* run);
    // Under the graph's lock, when the result has been taken over: the thread that drops the last failed array then lets go
    // of the failure too.
    void let_go_of_failures();
    // In a forked child: what the run in hand had reserved goes back; its values are failed with the other runs'.
    void abandon();

    // In the device's memory, and its own. Memory that was borrowed belongs to another library, and what that does with it is not
    // in the device's order.
    bool lies_here(const Buffer* buffer) { return buffer && !buffer->borrowed() && buffer->memory == &memory(); }

    // The scalars of a step, where its arguments point to them.
    std::vector<double> scalars_of(const Step& step) const;
    static std::vector<Failure::Origin> origins(const std::vector<int32_t>& operations, Run* run, const Plan& plan);

    RunResult result_;

   private:
    void perform_upload(Run* run);
    bool wait_for_memory(Run* run);
    void use_unfused_form();
    static bool is_ours(const Node* node);
    bool may_overwrite(const Run* run, int32_t input) const;
    bool reserve(Run* run, const Plan& plan);
    Memory& memory_of(const Plan& plan, const PlanOutput& output);
    bool reserve_outputs(const Plan& plan);
    static void let_go(Buffer** buffer);
    static void release_all(std::vector<Buffer*>* buffers);
    char* address(const Slot& slot, bool transfer);
    void compute(Run* run, Plan& plan);
    void begin_steps(Run* run, const Plan& plan);
    void fail_step(const Step& step, Failure* failure);
    size_t compute_together(Run* run, Plan& plan);
    void give_arguments(Step* step, const Run* run, const Plan& plan);
    void run_step(Step* step, Run* run, const Plan& plan);
    void fail_outputs(const Plan& plan);
    void compute_by_values(Run* run, Plan& plan);
    static bool is_seen(const Node* node);
    Failure* unseen();
    void find_wanted(Run* run, const Plan& plan);
    bool is_wanted(const Step& step) const;
    Failure* make_room(const Step& step, Run* run, const Plan& plan);
    void make_output(int32_t number, Run* run, const Plan& plan);
    void take_back(const Step& step, const Plan& plan);
    void end_values(const Step& step, Run* run, const Plan& plan);
    Failure* failure_of(Ref ref, const Plan& plan) const;
    Failure* reason_not_to(const Step& step, Run* run, const Plan& plan);
    Failure* refused(std::vector<Failure::Origin> origins);
    Failure* injected(FailureKind kind, std::vector<Failure::Origin> origins);
    static Failure* exhausted();
    Failure* out_of_memory(size_t bytes, Memory& refusing, std::vector<Failure::Origin> origins);
    Failure* own(Failure* failure);
    void fail_output(size_t k, Failure* failure);
    void fail_all(Run* run, Failure* failure);

    // The run in hand.
    Plan* plan_ = nullptr;
    Buffer* arena_ = nullptr;
    std::vector<Buffer*> input_, own_;
    std::vector<Buffer*> kept_;  // by input, where it is issued only: if its run fails, the node lets go of the buffer
    std::vector<Failure*> input_failure_, node_failure_, owned_failures_, held_failures_;
    std::vector<char> donated_, wanted_;
    bool by_values_ = false;  // an input failed: what does not need it is computed all the same
    std::vector<double> scalars_;
};

}  // namespace owl
