# distutils: language = c++
"""Parts of the engine as they are, without owl's API, kernels or threads. Linked with an engine of its own."""

from cython.operator cimport dereference as deref
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint64_t
from libcpp cimport bool
from libcpp.deque cimport deque
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.vector cimport vector
from posix.unistd cimport usleep

from owl._engine.graph cimport DType, Node, Op, Shape, State, graph, kOperations, operation_name
from owl._engine.memory cimport Buffer, MemoryInfo, host_memory, live_buffers
from owl._engine.plan cimport Backend, Plan, PlanInput, PlanOutput, StoredPlaces, compile_plan
from owl._engine.record cimport Draft, RecordingStream, record, record_leaf
from owl._engine.run cimport Executor, live_runs
from owl._engine.window cimport Scheduler


cdef extern from "_engine/memory/lru_map.h" namespace "owl" nogil:
    cppclass LruMap[Value]:
        LruMap(size_t capacity)
        Value* find(uint64_t key)
        Value& operator[](uint64_t key)
        size_t size()


cdef extern from "_engine/record/detector.h" namespace "owl" nogil:
    cppclass Detector:
        uint64_t recorded()
        bool reset()


cdef extern from "_engine/run/executor.h" namespace "owl" nogil:
    cppclass Listener "owl::IdleListener":
        void on_idle()


cdef extern from "_engine/run/run.h" namespace "owl" nogil:
    cppclass Run:
        shared_ptr[Plan] plan
        vector[Node*] inputs
        vector[Node*] outputs
        int unresolved


cdef extern from "_engine/plan/fusion.h" namespace "owl" nogil:
    cppclass Operand:
        int32_t ref

    cppclass Group:
        vector[int] members
        vector[int] sums

    cppclass Fusion:
        vector[char] stored
        vector[vector[Operand]] operands
        vector[Group] groups
        vector[int] order


cdef extern from "_engine/plan/plan.h" namespace "owl" nogil:
    cppclass Slot:
        int kind
        int32_t number
        size_t offset

    cppclass PlannedOperation "owl::PlanNode":
        Op op
        bool live

    # What owl/_engine/plan.pxd leaves out, as owl has no use for it in Cython.
    cppclass WholePlan "owl::Plan":
        vector[PlannedOperation] nodes
        vector[Slot] slots


cdef extern from "_engine/plan/plan_cache.h" namespace "owl" nogil:
    cppclass Canonical:
        bool describe(const vector[Node*]& nodes, uint64_t mark, bool may_rematerialize, StoredPlaces& stored)
        uint64_t hash()
        bool same_key(const Plan& plan)
        shared_ptr[Plan] begin_plan(const vector[Node*]& nodes)
        void describe_nodes(const vector[Node*]& nodes, Plan* plan)


cdef extern from "_engine/plan/placement.h" namespace "owl" nogil:
    cppclass Placement:
        vector[int32_t] value_slot


cdef extern from "scalars.h" namespace "owl" nogil:
    bool compute_scalars_f32 "owl::compute_scalars"(int, const float* x, const float* y, float* out, size_t count)
    bool compute_scalars_f64 "owl::compute_scalars"(int, const double* x, const double* y, double* out, size_t count)


cdef extern from "manual.h" namespace "owl" nogil:
    cppclass PlainMemory:
        Buffer* allocate(size_t bytes)
        MemoryInfo info()
        void set_limit(size_t bytes)
        void trim()

    cppclass KeepingBackend(Backend):
        Fusion fusion
        Placement placement

    cppclass ManualExecutor:
        deque[Run*] queue
        KeepingBackend keeping
        void finish_first(bool fail)

    cppclass Recorded:
        uint64_t signature
        uint64_t bytes
        vector[int] reads
        bool requested

    vector[uint64_t] detect(Detector* detector, const vector[Recorded]& recorded)


OPERATIONS = {operation_name(<Op>op).decode(): op for op in range(kOperations)}
STATES = ("recorded", "submitted", "done", "failed", "dead")
SLOT_KINDS = ("input", "output", "arena", "own")


def counters():
    """What lives in this engine, which is not the one of owl."""
    with nogil:
        graph().mutex.lock()
        nodes = graph().live_nodes()
        graph().mutex.unlock()
    return {"nodes": nodes, "buffers": live_buffers(), "runs": live_runs()}


# ------------------------------------------------------------------------------------------------------------- memory


cdef class Block:
    """A buffer; its memory goes back to its pool with this object."""

    cdef Buffer* buffer
    cdef Pool pool

    def __dealloc__(self):
        if self.buffer is not NULL:
            self.buffer.release()

    @property
    def address(self):
        return <size_t>self.buffer.data

    @property
    def bytes(self):
        return self.buffer.bytes


cdef class Pool:
    cdef PlainMemory* pool

    def __cinit__(self):
        self.pool = new PlainMemory()

    def __dealloc__(self):
        self.pool.trim()
        del self.pool

    def allocate(self, size_t bytes):
        """A block, or None where the limit or the system refuses."""
        cdef Buffer* buffer = self.pool.allocate(bytes)
        if buffer is NULL:
            return None
        block = <Block>Block.__new__(Block)
        block.buffer = buffer
        block.pool = self
        return block

    def churn(self, uint64_t seed, int rounds):
        """Allocates, writes and releases without the GIL, sixteen blocks at a time; how many were not its own any more."""
        cdef Buffer* held[16]
        cdef int _round, damaged = 0
        cdef size_t at, bytes
        with nogil:
            for at in range(16):
                held[at] = NULL
            for _round in range(rounds):
                seed = seed * 6364136223846793005u + 1442695040888963407u
                at = (seed >> 33) % 16
                bytes = (seed >> 40) % 5000 + 8
                if held[at] is not NULL:
                    damaged += (<uint64_t*>held[at].data)[0] != <uint64_t>held[at]
                    held[at].release()
                held[at] = self.pool.allocate(bytes)
                if held[at] is not NULL:
                    (<uint64_t*>held[at].data)[0] = <uint64_t>held[at]
            for at in range(16):
                if held[at] is not NULL:
                    held[at].release()
        return damaged

    def set_limit(self, size_t bytes):
        self.pool.set_limit(bytes)

    def trim(self):
        self.pool.trim()

    def info(self):
        info = self.pool.info()
        return {"in_use": info.in_use, "cached": info.cached, "limit": info.limit, "peak": info.peak}


cdef class Lru:
    cdef LruMap[int64_t]* entries

    def __cinit__(self, size_t capacity):
        self.entries = new LruMap[int64_t](capacity)

    def __dealloc__(self):
        del self.entries

    def __len__(self):
        return self.entries.size()

    def get(self, uint64_t key):
        cdef int64_t* found = self.entries.find(key)
        return None if found is NULL else found[0]

    def put(self, uint64_t key, int64_t value):
        deref(self.entries)[key] = value


# ----------------------------------------------------------------------------------------------------------- recording


cdef class Cuts:
    """A detector alone."""

    cdef Detector detector

    def feed(self, nodes):
        """Takes (signature, bytes, places of those that it reads, whether a request came first); where it cuts."""
        cdef vector[Recorded] recorded
        cdef Recorded one
        for signature, bytes, reads, requested in nodes:
            one.signature = signature
            one.bytes = bytes
            one.reads = reads
            one.requested = requested
            recorded.push_back(one)
        return [cut for cut in detect(&self.detector, recorded) if cut]

    def reset(self):
        return self.detector.reset()

    @property
    def recorded(self):
        return self.detector.recorded()


cdef class Value:
    """A handle of a node."""

    cdef Node* node
    cdef World world

    def __dealloc__(self):
        if self.node is not NULL:
            with nogil:
                graph().mutex.lock()
                graph().drop_handle(self.node)
                graph().mutex.unlock()

    @property
    def state(self):
        return _state(self.node)

    def __repr__(self):
        return f"<{operation_name(self.node.op).decode()} {self.state}>"


cdef class World:
    """A scheduler with devices whose runs end when `finish` is called. `cut` off: windows end with requests alone."""

    cdef Scheduler* scheduler
    cdef vector[ManualExecutor*] executors
    cdef vector[RecordingStream*] streams
    cdef bool cut

    def __cinit__(self, int devices=1, bool early_start=False, bool cut=True):
        cdef ManualExecutor* executor
        self.scheduler = new Scheduler()
        self.scheduler.early_start = early_start
        self.cut = cut
        for _ in range(devices):
            executor = new ManualExecutor()
            self.executors.push_back(executor)
            graph().mutex.lock()
            self.scheduler.add_executor(unique_ptr[Executor](<Executor*>executor))
            graph().mutex.unlock()

    def __dealloc__(self):
        cdef ManualExecutor* executor
        cdef RecordingStream* stream
        cdef bool any_left = True
        while any_left:  # one that ends may let another one begin
            any_left = False
            for executor in self.executors:
                while executor.queue.size():
                    any_left = True
                    graph().mutex.lock()
                    executor.finish_first(False)
                    graph().mutex.unlock()
        graph().mutex.lock()
        for stream in self.streams:
            self.scheduler.purge_stream(stream)
        graph().mutex.unlock()
        for stream in self.streams:
            del stream
        del self.scheduler
        for executor in self.executors:
            del executor

    def stream(self):
        """A new stream of recording, by its number."""
        graph().mutex.lock()
        self.streams.push_back(self.scheduler.add_stream())
        graph().mutex.unlock()
        return self.streams.size() - 1

    def record(self, str operation, shape, inputs=(), *, int stream=0, int device=0, scalar=None):
        """An operation without attributes; the last operand of one with a `scalar` is that."""
        cdef Draft draft
        cdef Value value = Value.__new__(Value)
        draft.op = <Op><int>OPERATIONS[operation]
        draft.dtype = DType.f32
        draft.device = device
        _fill(&draft.shape, shape)
        for source in inputs:
            draft.add_input((<Value?>source).node)
        if scalar is not None:
            draft.add_scalar(len(inputs), scalar)
        value.world = self
        value.node = record(draft, self.streams[stream], NULL)
        if self.cut and self.streams[stream].attention:
            graph().mutex.lock()
            self.scheduler.attend(self.streams[stream], False)
            self.scheduler.unlock_and_compile()
        return value

    def leaf(self, shape, *, int stream=0, int device=0):
        """A value that exists."""
        cdef Shape filled
        cdef Value value = Value.__new__(Value)
        _fill(&filled, shape)
        value.world = self
        value.node = record_leaf(
            filled, DType.f32, device, 0, host_memory().allocate(filled.size() * 4), self.streams[stream]
        )
        return value

    def request(self, values):
        cdef vector[Node*] targets
        for value in values:
            targets.push_back((<Value?>value).node)
        with nogil:
            graph().mutex.lock()
            self.scheduler.request(targets.data(), <int>targets.size(), 0)
            self.scheduler.unlock_and_compile()

    def flush(self, int stream=0):
        with nogil:
            graph().mutex.lock()
            self.scheduler.flush(self.streams[stream])
            self.scheduler.unlock_and_compile()

    def on_idle(self):
        """Submits what waits, and sees new plans compiled."""
        cdef bint compiling = True
        with nogil:
            (<Listener*>self.scheduler).on_idle()
            while compiling:
                graph().mutex.lock()
                compiling = self.scheduler.any_compiling_within(UINT64_MAX)
                graph().mutex.unlock()
                if compiling:
                    usleep(100)

    def queue(self, int device=0):
        """The runs that wait to be executed: (operations, states of the inputs, how many outputs)."""
        cdef Run* run
        cdef Node* node
        cdef PlannedOperation operation
        runs = []
        for run in self.executors[device].queue:
            operations = []
            for operation in (<WholePlan*>run.plan.get()).nodes:
                operations.append(operation_name(operation.op).decode())
            inputs = []
            for node in run.inputs:
                inputs.append(_state(node))
            runs.append((operations, inputs, run.outputs.size()))
        return runs

    def finish(self, int device=0, *, bool fail=False):
        """Ends the first run of a device."""
        if self.executors[device].queue.empty():
            raise IndexError("no run")
        with nogil:
            graph().mutex.lock()
            self.executors[device].finish_first(fail)
            graph().mutex.unlock()

    def statistics(self):
        counted = self.scheduler.counters
        return {"windows": counted.windows, "plans": counted.plans, "hits": counted.hits, "dead": counted.dead}

    def key(self, list values, *, list keep=None):
        """The canonical form of these nodes as one window.

        With `keep`, `values` is emptied first, so that no other handles than those are left (if the caller has none),
        and nodes that died of it are no part of the window.
        """
        cdef Node* node
        cdef vector[Node*] window
        key = <Key>Key.__new__(Key)
        key.world = self
        graph().mutex.lock()
        for value in values:
            node = (<Value?>value).node
            graph().hold(node)
            key.held.push_back(node)
        graph().mutex.unlock()
        if keep is not None:
            values.clear()
        graph().mutex.lock()
        for node in key.held:
            if keep is None or node.state == State.recorded:
                window.push_back(node)
        key.size = window.size()
        key.clean = key.canonical.describe(window, graph().new_mark(), False, self.scheduler.stored_places)
        if key.size:
            key.plan = key.canonical.begin_plan(window)
            key.canonical.describe_nodes(window, key.plan.get())
        graph().mutex.unlock()
        return key

    def place(self, Key key, *, bool fuse=True):
        """Compiles a window: how the planner grouped its nodes, and where their values lie."""
        cdef Plan* plan = key.plan.get()
        cdef WholePlan* whole = <WholePlan*>plan
        cdef KeepingBackend* backend = &self.executors[plan.device].keeping
        cdef Group group
        cdef Operand operand
        cdef Slot slot
        cdef PlanOutput output
        cdef PlanInput given
        cdef int at, member, node
        compile_plan(plan, deref(<Backend*>backend), fuse)
        steps = []
        for at in backend.fusion.order:
            group = backend.fusion.groups[at]
            reads = []
            for member in group.members:
                for operand in backend.fusion.operands[member]:
                    reads.append(operand.ref)
            steps.append({"members": list(group.members), "sums": list(group.sums), "reads": reads})
        values = {}
        for node in range(<int>plan.nodes.size()):
            at = backend.placement.value_slot[node]
            if at >= 0:
                slot = whole.slots[at]
                values[node] = (SLOT_KINDS[slot.kind], slot.offset)
        outputs = []
        for output in plan.outputs:
            outputs.append(
                {
                    "node": output.node,
                    "donated": output.donated_input,
                    "alias_input": output.alias_input,
                    "alias_output": output.alias_output,
                }
            )
        donatable = []
        for given in plan.inputs:
            donatable.append(given.donatable)
        return {
            "steps": steps,
            "values": values,
            "outputs": outputs,
            "donatable": donatable,
            "arena_bytes": plan.arena_bytes,
        }


cdef class Key:
    """A described window and a plan that is not compiled yet."""

    cdef Canonical canonical
    cdef shared_ptr[Plan] plan
    cdef vector[Node*] held
    cdef World world
    cdef readonly bool clean
    cdef readonly int size

    def __dealloc__(self):
        cdef Node* node
        graph().mutex.lock()
        for node in self.held:
            graph().unhold(node)
        graph().mutex.unlock()

    @property
    def hash(self):
        return self.canonical.hash()

    def __eq__(self, other):
        return self.canonical.same_key(deref((<Key?>other).plan))

    __hash__ = None


cdef str _state(const Node* node):
    cdef Py_ssize_t at = <Py_ssize_t>node.state
    return STATES[at]


cdef int _fill(Shape* shape, dims) except -1:
    shape.ndim = len(dims)
    for at, size in enumerate(dims):
        shape.dim[at] = size
    return 0


SCALAR_FUNCTIONS = ("exp", "log", "sigmoid", "tanh", "sqrt", "abs", "max", "min", "pow")


def compute_scalars(str name, x, y):
    """owl's mathematics on one number of these arrays after the other; the functions of one operand let `y` be."""
    cdef int function = SCALAR_FUNCTIONS.index(name)
    cdef const float[::1] x32, y32
    cdef float[::1] out32
    cdef const double[::1] x64, y64
    cdef double[::1] out64
    out = x.copy()
    if x.itemsize == 4:
        x32, y32, out32 = x, y, out
        done = compute_scalars_f32(function, &x32[0], &y32[0], &out32[0], len(x))
    else:
        x64, y64, out64 = x, y, out
        done = compute_scalars_f64(function, &x64[0], &y64[0], &out64[0], len(x))
    assert done
    return out
