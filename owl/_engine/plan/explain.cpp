// What a plan does, as JSON: owl.explain makes words and drawings of it.
#include <sstream>

#include "plan.h"

namespace owl {
namespace {

class Explainer {
   public:
    explicit Explainer(const Plan& plan) : plan_(plan) {}

    std::string json() {
        out_ << "{\"id\": " << plan_.id << ", \"device\": " << plan_.device
             << ", \"bytes_outside\": " << plan_.output_bytes << ", \"bytes_inside\": " << plan_.arena_bytes;
        write_list("inputs", plan_.inputs.size(), [this](size_t k) { write_input(plan_.inputs[k]); });
        write_list("operations", plan_.nodes.size(), [this](size_t i) { write_operation(i); });
        write_list("kernels", plan_.steps.size(), [this](size_t s) { write_kernel(plan_.steps[s]); });
        write_list("outputs", plan_.outputs.size(), [this](size_t k) { write_output(plan_.outputs[k]); });
        write_numbers("left_over", plan_.leftovers.data(), plan_.leftovers.size());
        out_ << '}';
        return out_.str();
    }

   private:
    template <typename Item>
    void write_list(const char* name, size_t count, Item item) {
        out_ << ", \"" << name << "\": [";
        for (size_t i = 0; i < count; ++i) {
            if (i) out_ << ", ";
            item(i);
        }
        out_ << ']';
    }
    template <typename Number>
    void write_numbers(const char* name, const Number* numbers, size_t count) {
        write_list(name, count, [&](size_t i) { out_ << numbers[i]; });
    }
    // The first members of an object: what an array looks like.
    void write_array(const Shape& shape, DType dtype) {
        out_ << "{\"dtype\": \"" << (dtype == DType::f64 ? "float64" : dtype == DType::f32 ? "float32" : "uint8") << '"';
        write_numbers("shape", shape.dim, static_cast<size_t>(shape.ndim));
    }

    void write_input(const PlanInput& input) {
        write_array(input.shape, input.dtype);
        out_ << ", \"donatable\": " << (input.donatable ? "true" : "false") << '}';
    }
    void write_operation(size_t i) {
        const PlanNode& node = plan_.nodes[i];
        write_array(node.shape, node.dtype);
        out_ << ", \"name\": \"" << name(node) << "\", \"numbers\": " << static_cast<int>(node.scalar_mask)
             << ", \"root\": " << plan_.root[i];
        write_numbers("operands", node.inputs.data(), node.inputs.size());
        const size_t count = find_dimensions(node);
        write_numbers("dimensions", dimensions_, count);
        out_ << '}';
    }
    void write_kernel(const Step& step) {
        out_ << "{\"name\": \"" << step.name << '"';
        write_numbers("operations", step.operations.data(), step.operations.size());
        out_ << ", \"in_blocks\": " << step.in_blocks << '}';
    }
    void write_output(const PlanOutput& output) {
        out_ << "{\"operation\": " << output.node << ", \"bytes\": " << output.bytes
             << ", \"written_over\": " << output.donated_input << ", \"same_as_input\": " << output.alias_input
             << ", \"same_as_output\": " << output.alias_output << '}';
    }

    // As a user would write it.
    static const char* name(const PlanNode& node) {
        if (node.op == elementwise_op(Ew::copy) && node.inputs.empty()) return "full";
        if (node.op == Op::random) {
            static constexpr const char* kNames[] = {"randn", "randb", "randu"};
            return kNames[node.attribute[0]];
        }
        if (node.op == Op::reduce) {
            static constexpr const char* kNames[] = {"sum", "max", "min", "argmax"};
            return node.attribute[2] ? "mean" : kNames[node.attribute[0]];
        }
        return operation_name(node.op);
    }
    // The dimensions that an operation is told to work along, into dimensions_.
    size_t find_dimensions(const PlanNode& node) {
        if (node.op == Op::concat) {
            dimensions_[0] = static_cast<int>(node.attribute[0]);
            return 1;
        }
        size_t count = 0;
        if (node.op == Op::reduce)
            for (int d = 0; d < kMaxDims; ++d)
                if (node.attribute[1] >> d & 1) dimensions_[count++] = d;
        return count;
    }

    const Plan& plan_;
    std::ostringstream out_;
    int dimensions_[kMaxDims];
};

}  // namespace

std::string Plan::explain() const { return Explainer(*this).json(); }

}  // namespace owl
