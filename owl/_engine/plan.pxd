from libc.stdint cimport int32_t, uint8_t, uint16_t, uint64_t
from libcpp cimport bool
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from owl._engine.graph cimport DType, Node, Shape


cdef extern from "_engine/plan/plan.h" namespace "owl" nogil:
    cppclass PlanInput:
        Shape shape
        DType dtype
        bool donatable

    cppclass PlanNode:
        DType dtype
        uint8_t scalar_mask
        Shape shape
        vector[int32_t] inputs

    cppclass Step:
        const char* name
        vector[int32_t] operations
        int32_t blocked_node

    cppclass PlanOutput:
        int32_t node
        size_t bytes
        int32_t donated_input
        int32_t alias_input
        int32_t alias_output

    cppclass Plan:
        uint64_t id
        uint16_t device
        vector[PlanNode] nodes
        vector[PlanInput] inputs
        vector[PlanOutput] outputs
        vector[int32_t] rematerializable_nodes
        vector[int32_t] root
        vector[Step] steps
        size_t arena_bytes
        size_t output_bytes


cdef extern from "_engine/plan/explain.h" namespace "owl" nogil:
    const char* shown_name(const PlanNode& node)
    vector[int] shown_dimensions(const PlanNode& node)
    int32_t steps_together(const Plan& plan)


cdef extern from "_engine/plan/splits.h" namespace "owl" nogil:
    cppclass FusionRules:
        pass

    enum class SplitReason(uint8_t):
        pass

    cppclass Split:
        int32_t reader
        int32_t source
        int32_t node
        int32_t value
        SplitReason reason

    vector[Split] find_splits(const Plan& plan, const FusionRules& rules)


cdef extern from "_engine/plan/backend.h" namespace "owl" nogil:
    cppclass StepForm:
        int launches
        bool specialized

    cppclass Backend:
        FusionRules rules()
        StepForm form_of(const Step& step)

    void compile_plan(Plan* plan, const Backend& backend, bool fuse)


cdef extern from "_engine/plan/plan_bin.h" namespace "owl" nogil:
    void empty_plan_bin()


cdef extern from "_engine/plan/plan_cache.h" namespace "owl" nogil:
    cppclass Canonical:
        bool describe(const vector[Node*]& nodes, uint64_t mark, bool may_rematerialize, StoredPlaces& stored)
        shared_ptr[Plan] begin_plan(const vector[Node*]& nodes)
        void describe_nodes(const vector[Node*]& nodes, Plan* plan)

    cppclass StoredPlaces:
        size_t size()

    cppclass PlanCache:
        shared_ptr[Plan] find(const Canonical& window)
        void clear()
        size_t size()
