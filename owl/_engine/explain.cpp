// What a plan does, in words.
#include <sstream>

#include "plan.h"

namespace owl {
namespace {

void write_shape(std::ostream& out, const Shape& shape) {
    out << '[';
    for (int d = 0; d < shape.ndim; ++d) out << (d ? ", " : "") << shape.dim[d];
    out << ']';
}

class Explainer {
   public:
    explicit Explainer(const Plan& plan) : plan_(plan) {}

    std::string text() {
        out_ << "plan " << plan_.id << " on device " << plan_.device << ": " << plan_.nodes.size() << " operations, "
             << plan_.steps.size() << " kernels, " << plan_.runs << " runs\n";
        for (size_t i = 0; i < plan_.inputs.size(); ++i) {
            out_ << "  input x" << i << ' ';
            write_shape(out_, plan_.inputs[i].shape);
            if (plan_.inputs[i].donatable) out_ << ", nobody else needs it";
            out_ << '\n';
        }
        for (size_t s = 0; s < plan_.steps.size(); ++s) write_step(s);
        for (size_t k = 0; k < plan_.outputs.size(); ++k) write_output(k);
        for (int32_t i : plan_.leftovers) {
            out_ << "  left over: ";
            write_node(i);
            out_ << '\n';
        }
        write_dropped();
        out_ << "  stored outside: " << plan_.output_bytes << " bytes; inside: " << plan_.arena_bytes << " bytes\n";
        return out_.str();
    }

   private:
    void write_ref(Ref ref) {
        if (ref < 0)
            out_ << 'x' << ~ref;
        else
            out_ << 'v' << ref;
    }
    void write_node(int32_t i) {
        const PlanNode& node = plan_.nodes[i];
        out_ << 'v' << i << " = " << operation_name(node.op) << '(';
        size_t array = 0;
        bool first = true;
        for (int k = 0; array < node.inputs.size() || node.scalar_mask >> k; ++k) {
            out_ << (first ? "" : ", ");
            first = false;
            if (node.scalar_mask >> k & 1)
                out_ << "number";
            else
                write_ref(node.inputs[array++]);
        }
        out_ << ") ";
        write_shape(out_, node.shape);
    }
    void write_step(size_t s) {
        const Step& step = plan_.steps[s];
        out_ << "  kernel " << s << ": " << step.kernel->name << (step.operations.size() > 1 ? ", fused" : "") << '\n';
        for (int32_t i : step.operations) {
            out_ << "    ";
            write_node(i);
            out_ << '\n';
        }
    }
    void write_output(size_t k) {
        const PlanOutput& output = plan_.outputs[k];
        out_ << "  output v" << output.node << ' ';
        write_shape(out_, plan_.nodes[output.node].shape);
        if (output.donated_input >= 0) out_ << ", written over x" << output.donated_input;
        if (output.alias_input >= 0) out_ << ", the same buffer as x" << output.alias_input;
        if (output.alias_output >= 0) out_ << ", the same buffer as v" << plan_.outputs[output.alias_output].node;
        out_ << '\n';
    }
    void write_dropped() {
        std::vector<char> done(plan_.nodes.size(), 0);
        for (const Step& step : plan_.steps)
            for (int32_t i : step.operations) done[i] = 1;
        for (int32_t i : plan_.leftovers) done[i] = 1;
        for (size_t i = 0; i < done.size(); ++i) {
            if (done[i]) continue;
            const Ref root = plan_.root[i];
            out_ << (root == static_cast<Ref>(i) ? "  absorbed or dropped: " : "  shared instead of copied: ");
            write_node(static_cast<int32_t>(i));
            out_ << '\n';
        }
    }

    const Plan& plan_;
    std::ostringstream out_;
};

}  // namespace

std::string Plan::explain() const { return Explainer(*this).text(); }

}  // namespace owl
