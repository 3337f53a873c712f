// From a group of operations that share a pass to the program that its kernel runs.
#pragma once
#include <algorithm>
#include <cassert>

#include "fusion.h"
#include "step_builder.h"
#include "strides.h"

namespace owl {

// `Args` of a step that carries a program has, besides the array `sum`:
//   describe_input(register, dtype, strides), describe_output(number, dtype, strides): the pointer to fill in at each run;
//   take_program(program, builder): when all else is there.
class ProgramBuilder {
   public:
    ProgramBuilder(Plan* plan, const Fusion& fusion, int id)
        : plan_(*plan), f_(fusion), id_(id), group_(fusion.groups[id]) {}

    // Fills inputs, outputs, sums and scalars of the arguments, and gives them the program. `product`: the member whose value is
    // input 0, or -1.
    template <class Args>
    void build(StepBuilder<Args>* builder, int product) {
        auto program = std::make_shared<Program>();
        std::memset(static_cast<void*>(program.get()), 0, sizeof *program);
        program_ = program.get();
        program_->dtype = group_.dtype;
        registers_.assign(plan_.nodes.size(), -1);
        count_uses();
        if (product >= 0) {
            registers_[product] = program_->n_inputs++;
            keep(product, registers_[product]);
        }
        collect_inputs(builder, product);
        for (int r = 0; r < program_->n_inputs; ++r) used_[r] = true;
        highest_ = program_->n_inputs;
        builder->step().first_scalar = static_cast<int32_t>(plan_.scalar_order.size());
        for (int member : group_.members)
            if (member != product) emit(member);
        program_->n_registers = static_cast<uint8_t>(highest_);
        finish_outputs(builder);
        builder->args.take_program(program, builder);
    }

   private:
    struct Input {
        Ref ref;
        Shape view;
        int reg;
    };

    bool in_register(const Operand& operand, const PlanNode& consumer) const {
        return operand.ref >= 0 && f_.group_of[operand.ref] == id_ && consumer.op != Op::matmul &&
               operand.view == group_.space;
    }

    void count_uses() {
        uses_.assign(plan_.nodes.size(), 0);
        for (int member : group_.members) {
            if (plan_.nodes[member].op == Op::matmul) continue;
            for (const Operand& operand : f_.operands[member])
                if (operand.ref >= 0) ++uses_[operand.ref];
            if (f_.stored[member]) ++uses_[member];  // held until the block's end
        }
        for (int sum : group_.sums) ++uses_[f_.operands[sum][0].ref];
        if (!group_.members.empty() && f_.stored[group_.members[0]] && plan_.nodes[group_.members[0]].op == Op::matmul)
            ++uses_[group_.members[0]];
    }

    template <class Args>
    void collect_inputs(StepBuilder<Args>* builder, int product) {
        for (int member : group_.members) {
            const PlanNode& node = plan_.nodes[member];
            if (member == product) continue;
            for (const Operand& operand : f_.operands[member]) {
                if (in_register(operand, node) || find_input(operand)) continue;
                assert(program_->n_inputs < kMaxProgramInputs);
                const int reg = program_->n_inputs++;
                inputs_.push_back({operand.ref, operand.view, reg});
                const DType dtype = operand.ref >= 0 ? plan_.nodes[operand.ref].dtype : plan_.inputs[~operand.ref].dtype;
                int64_t stride[kMaxDims] = {};
                broadcast_strides(operand.view, group_.space, stride);
                builder->point(builder->args.describe_input(reg, dtype, stride), operand.ref);
            }
        }
    }

    const Input* find_input(const Operand& operand) const {
        for (const Input& input : inputs_)
            if (input.ref == operand.ref && input.view == operand.view) return &input;
        return nullptr;
    }

    int free_register() {
        for (int r = 0; r < kMaxProgramRegisters; ++r) {
            if (used_[r]) continue;
            used_[r] = true;
            highest_ = std::max(highest_, r + 1);
            return r;
        }
        assert(false);
        return 0;
    }

    void keep(int node, int reg) {
        registers_[node] = reg;
        used_[reg] = true;
    }

    void emit(int member) {
        const PlanNode& node = plan_.nodes[member];
        Instruction instruction{};
        instruction.op = node.op == Op::cast ? Elementwise::copy : static_cast<Elementwise>(node.op);
        uint8_t slots[3] = {0, 0, 0};
        size_t array = 0;
        int scalar = 0;
        const int arity = node.op == Op::cast ? 1 : elementwise_info(static_cast<int>(node.op)).arity;
        for (int k = 0; k < arity; ++k) {
            if (node.scalar_mask >> k & 1) {
                plan_.scalar_order.push_back(node.first_scalar + scalar++);
                slots[k] = static_cast<uint8_t>(kScalarOperand + program_->n_scalars++);
            } else {
                const Operand& operand = f_.operands[member][array++];
                slots[k] = static_cast<uint8_t>(in_register(operand, node) ? registers_[operand.ref] : find_input(operand)->reg);
            }
        }
        for (const Operand& operand : f_.operands[member])
            if (in_register(operand, node) && --uses_[operand.ref] == 0) used_[registers_[operand.ref]] = false;
        const int target = free_register();
        keep(member, target);
        instruction.dst = static_cast<uint8_t>(target);
        instruction.a = slots[0];
        instruction.b = slots[1];
        instruction.c = slots[2];
        program_->instruction[program_->n_instructions++] = instruction;
    }

    template <class Args>
    void finish_outputs(StepBuilder<Args>* builder) {
        for (int member : group_.members) {
            builder->step().operations.push_back(member);
            if (!f_.stored[member]) continue;
            int64_t stride[kMaxDims] = {};
            dense_strides(group_.space, stride);
            builder->point(builder->args.describe_output(program_->n_outputs, plan_.nodes[member].dtype, stride), member);
            program_->output_register[program_->n_outputs++] = static_cast<uint8_t>(registers_[member]);
        }
        for (int sum : group_.sums) {
            builder->step().operations.push_back(sum);
            builder->point(builder->args.sum[program_->n_sums], sum);
            program_->sum_register[program_->n_sums++] = static_cast<uint8_t>(registers_[f_.operands[sum][0].ref]);
        }
    }

    Plan& plan_;
    const Fusion& f_;
    const int id_;
    const Group& group_;
    Program* program_ = nullptr;
    std::vector<Input> inputs_;
    std::vector<int> registers_, uses_;
    bool used_[kMaxProgramRegisters] = {};
    int highest_ = 0;
};

}  // namespace owl
