# Whose random numbers are drawn. A stream of random numbers has an identity and a count of draws. The identity follows
# from whom it belongs to, never from when it first draws, so that timing changes no number:
#
# - the main thread: 0;
# - `with owl.random_stream(name)`: that name and the enclosing stream;
# - a task or a thread that was given a name: that name;
# - another task: its number, less that of the oldest task alive when its loop first drew, and the loop, which is the
#   n-th of its thread since the last seed; another thread: its number, less the next one at the last seed;
# - a task that was started inside a `with owl.random_stream`: the stream of that, and the task;
# - a thread that runs in a copy of a task's Context (asyncio.to_thread): that task's stream;
# - the workers of all pools of threads: one stream, for which of them does what is chance.
#
# Counts of names are kept until the next seed, as a name may come back; those of numbers, which do not, end with their
# tasks and threads.

cdef extern from *:
    """
    #include <memory>
    #include <unordered_map>
    namespace owl { namespace {
    std::unordered_map<uint64_t, std::shared_ptr<RandomNumbers>>& named_numbers =
        *new std::unordered_map<uint64_t, std::shared_ptr<RandomNumbers>>;  // never destroyed, as threads go on

    inline std::shared_ptr<RandomNumbers> make_numbers(uint64_t identity, bool named) {
        if (!named) return std::make_shared<RandomNumbers>(RandomNumbers{identity, 0});
        std::shared_ptr<RandomNumbers>& found = named_numbers[identity];
        if (!found) found = std::make_shared<RandomNumbers>(RandomNumbers{identity, 0});
        return found;
    }
    inline void forget_named_numbers() { named_numbers.clear(); }
    } }
    """
    shared_ptr[RandomNumbers] make_numbers "owl::make_numbers"(uint64_t identity, cbool named) except +
    void forget_named_numbers "owl::forget_named_numbers"()


_random_scope = contextvars.ContextVar("owl random stream", default=None)
cdef uint64_t random_era = 1  # another one since each seed
cdef uint64_t first_thread_number = 0  # what a thread that was created right after the last seed would be numbered
cdef dict loops_drawn_in = {}  # since the last seed, by the identity of their thread
loop_numbers = weakref.WeakKeyDictionary()  # of each event loop that something was recorded in


cdef class RandomScope:
    # One entry into a `with owl.random_stream`.
    cdef uint64_t identity
    cdef object task  # weak; None outside of tasks
    cdef RandomScope outer

    cdef bint belongs_to(self, task):
        return self.task is not None and self.task() is task


cdef class LoopNumbers:
    # How the tasks of one event loop are told apart.
    cdef uint64_t thread  # the identity of the thread that runs it
    cdef uint64_t era
    cdef uint64_t index
    cdef int64_t oldest


cdef uint64_t mix(tuple words) except 0:
    # 64 bits of a cryptographic hash: that two streams share an identity is as unlikely as a broken memory.
    import hashlib  # takes as long as all of owl, and who draws in one thread alone never comes here
    text = repr(words).encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") or 1


cdef object number_in(str name, str prefix):
    # The number that asyncio or threading gave where the user gave no name: "Task-7", "Thread-7", "Thread-7 (function)".
    if not name.startswith(prefix):
        return None
    number, blank, rest = name[len(prefix):].partition(" ")
    if not (number.isascii() and number.isdigit()) or (blank and not (rest.startswith("(") and rest.endswith(")"))):
        return None
    return int(number)


cdef uint64_t next_thread_number():
    # threading counts the threads that it names; looking at the counter without taking a number shows in its text only.
    try:
        return int(repr(threading._counter.__self__).partition("(")[2].rstrip(")"))
    except (AttributeError, ValueError):
        return 0


cdef bint is_pool_worker(thread):
    # Only what a thread runs tells: the names of such workers can be chosen.
    pools = sys.modules.get("concurrent.futures.thread")
    target = getattr(thread, "_target", None)
    return target is not None and target is getattr(pools, "_worker", None)


cdef uint64_t thread_identity(cbool* named) except? 0:
    named[0] = False
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return 0
    number = number_in(thread.name, "Thread-")
    if number is not None:
        return mix(("thread number", number - int(first_thread_number)))
    named[0] = True
    if is_pool_worker(thread):
        return mix(("workers",))
    return mix(("thread", thread.name))


cdef int note_loop() except -1:
    # In the thread of the loop: others, which run on behalf of its tasks, cannot tell whose it is.
    cdef cbool named
    cdef LoopNumbers numbers
    loop = loop_of_this_thread()
    if loop not in loop_numbers:
        numbers = LoopNumbers.__new__(LoopNumbers)
        numbers.thread = thread_identity(&named)
        loop_numbers[loop] = numbers
    return 0


cdef uint64_t task_identity(task, cbool* named) except 0:
    cdef LoopNumbers numbers
    name = task.get_name()
    number = number_in(name, "Task-")
    named[0] = number is None
    if number is None:
        return mix(("task", name))
    loop = task.get_loop()
    numbers = loop_numbers[loop]
    if numbers.era != random_era:
        numbers.index = loops_drawn_in.get(numbers.thread, 0)
        loops_drawn_in[numbers.thread] = numbers.index + 1
        alive = [number_in(other.get_name(), "Task-") for other in sys.modules["asyncio"].all_tasks(loop)]
        numbers.oldest = min([other for other in alive if other is not None], default=number)
        numbers.era = random_era
    return mix(("task number", numbers.thread, numbers.index, number - int(numbers.oldest)))


cdef int find_own_of_task(RecordingStream* stream, task, RandomScope scope) except -1:
    cdef cbool named = False
    cdef uint64_t identity
    if stream.own_numbers and stream.own_era == random_era:
        return 0
    while scope is not None and scope.belongs_to(task):
        scope = scope.outer
    identity = task_identity(task, &named)
    if scope is not None:  # inherited
        identity = mix(("in", scope.identity, identity))
    stream.own_numbers = make_numbers(identity, named)
    stream.own_era = random_era
    return 0


# Finds whose numbers are drawn by the code that runs now, which records into `stream`.
cdef int find_numbers(RecordingStream* stream) except -1:
    cdef RandomScope scope = _random_scope.get()
    cdef TaskStream holder
    cdef cbool named = False
    cdef uint64_t identity
    task = current_task()
    if scope is not None and (task is None or scope.belongs_to(task)):
        stream.numbers = make_numbers(scope.identity, True)
        stream.numbers_era = random_era
        return 0
    if task is not None:
        find_own_of_task(stream, task, scope)
        stream.numbers = stream.own_numbers
        stream.numbers_era = random_era
        return 0
    holder = _task_stream.get()
    task = holder.task() if holder is not None else None
    if task is not None:
        find_own_of_task(holder.stream, task, scope)
        stream.numbers = holder.stream.own_numbers
        stream.numbers_era = random_era
        return 0
    if not stream.own_numbers or stream.own_era != random_era:
        identity = thread_identity(&named)
        stream.own_numbers = make_numbers(identity, named)
        stream.own_era = random_era
    stream.numbers = stream.own_numbers
    stream.numbers_era = random_era
    return 0


cdef inline RandomNumbers* current_numbers(RecordingStream* stream) except NULL:
    if not stream.numbers or stream.numbers_era != random_era:
        find_numbers(stream)
    return stream.numbers.get()


# What a call has drawn, so that it can be made again with the same random numbers.
@cython.final
cdef class DrawLog:
    cdef vector[uint64_t] words  # three of each draw: seed, stream, count
    cdef size_t next
    cdef bint replays
    cdef DrawLog outer

    # From here on the stream's draws are logged, or come from the log. Returns what `end` wants.
    cdef DrawLog begin(self, RecordingStream* stream, bint replays):
        cdef DrawLog outer = None if stream.draws is NULL else <DrawLog>stream.draws
        self.outer = outer
        self.next = 0
        self.replays = replays
        stream.draws = <void*>self
        return outer

    cdef void end(self, RecordingStream* stream, DrawLog outer) noexcept:
        stream.draws = NULL if outer is None else <void*>outer
        self.outer = None

    # Gives the words of the next draw and returns 1, if this log or one around it replays.
    cdef int draw(self, uint64_t* words) except -1:
        cdef int k
        if self.replays:
            if self.next + 3 > self.words.size():
                raise OwlRuntimeError("[remat] the function draws more random arrays when it is computed again")
            for k in range(3):
                words[k] = self.words[self.next + k]
            self.next += 3
            return 1
        return 0 if self.outer is None else self.outer.draw(words)

    cdef void note(self, const uint64_t* words):
        cdef int k
        if self.replays:
            return
        for k in range(3):
            self.words.push_back(words[k])
        if self.outer is not None:
            self.outer.note(words)


class random_stream:
    """A stream of random numbers of its own for what is drawn inside ``with owl.random_stream(name):``.

    Its numbers depend on the seed, on `name`, on the stream around it, and on how many arrays were drawn from it before:
    not on the thread or task, nor on timing. The same name at the same place goes on where it was left, until the next
    `owl.seed`; used in several threads at once it is one stream, and who draws first then decides who draws what. A task
    that is started inside draws from a stream of its own, which depends on this one and on the task.

    Workers of a `ThreadPoolExecutor` have no identity and share one stream: a name for each piece of work makes its numbers
    independent of the worker that it falls to.

    `name` is a str. Raises OwlTypeError for anything else. ``async with`` does the same. It evaluates nothing, does not
    block, and may be used in any thread.

    Examples
    --------
    >>> owl.seed(1)
    >>> with owl.random_stream("weights"):
    ...     a = owl.randn([3])
    >>> owl.seed(1); noise = owl.randn([5])
    >>> with owl.random_stream("weights"):
    ...     b = owl.randn([3])
    >>> (a - b).count_zero()
    3
    """

    __slots__ = ("name",)

    def __init__(self, name):
        if not isinstance(name, str):
            raise OwlTypeError(f"[random_stream] the name is a str, not {name!r}")
        self.name = name

    def __repr__(self):
        return f"owl.random_stream({self.name!r})"

    def __enter__(self):
        cdef RecordingStream* stream = current_stream()
        cdef RandomScope scope = RandomScope.__new__(RandomScope)
        scope.identity = mix(("name", self.name, current_numbers(stream).identity))
        task = current_task()
        scope.task = None if task is None else PyWeakref_NewRef(task, None)
        scope.outer = _random_scope.get()
        _random_scope.set(scope)
        stream.numbers.reset()
        return self

    def __exit__(self, *_):
        cdef RecordingStream* stream = current_stream()
        cdef RandomScope scope = _random_scope.get()
        if scope is not None:
            _random_scope.set(scope.outer)
        stream.numbers.reset()

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, *_):
        self.__exit__()


cdef int seed_streams() except -1:
    global random_era, first_thread_number
    random_era += 1
    first_thread_number = next_thread_number()
    loops_drawn_in.clear()
    forget_named_numbers()
    return 0


first_thread_number = next_thread_number()
random_stream.__module__ = "owl"
