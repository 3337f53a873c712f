# Call sites: the line of the user's program that recorded a node, as a small number. Nodes must not hold Python
# references (they die on threads without the GIL), so a table keeps each code object once.

cdef extern from *:
    """
    #include <Python.h>
    #include <frameobject.h>

    #include <cstdint>
    #include <mutex>
    #include <unordered_map>
    #include <vector>

    namespace owl {
    namespace {

    struct Site {
        PyCodeObject* code;
        int offset;
    };

    inline int frame_offset(PyFrameObject* frame) {
    #if PY_VERSION_HEX >= 0x030B0000
        return PyFrame_GetLasti(frame);
    #else
        return frame->f_lasti * (int)sizeof(_Py_CODEUNIT);
    #endif
    }

    struct SiteTable {
        std::mutex mutex;
        std::unordered_map<uint64_t, uint32_t> numbers;
        std::vector<Site> sites{Site{nullptr, 0}};

        // Programs that generate code without end keep the newest lines nameless rather than all their code alive.
        static constexpr size_t kLimit = 1u << 18;

        uint32_t intern(PyCodeObject* code, int offset, uint64_t key) {
            std::lock_guard<std::mutex> guard(mutex);
            auto [first, last] = std::make_pair(numbers.find(key), numbers.end());
            if (first != last && sites[first->second].code == code && sites[first->second].offset == offset)
                return first->second;
            if (sites.size() >= kLimit) return 0;
            Py_INCREF(code);
            sites.push_back(Site{code, offset});
            numbers[key] = static_cast<uint32_t>(sites.size() - 1);
            return numbers[key];
        }
        Site at(uint32_t number) {
            std::lock_guard<std::mutex> guard(mutex);
            return sites[number];
        }
    };
    SiteTable& site_table() {
        static auto* table = new SiteTable;
        return *table;
    }

    struct CachedSite {
        PyCodeObject* code;
        int offset;
        uint32_t number;
    };
    // Interned code objects live for ever, so an equal address means the same code.
    thread_local CachedSite cached_sites[256];

    inline uint32_t call_site() {
        PyFrameObject* frame = PyEval_GetFrame();
        if (!frame) return 0;
        PyCodeObject* code = PyFrame_GetCode(frame);
        const int offset = frame_offset(frame);
        const uint64_t key = (reinterpret_cast<uint64_t>(code) ^ static_cast<uint64_t>(offset)) * 0x9E3779B97F4A7C15ull;
        CachedSite& cached = cached_sites[key >> 56];
        if (cached.code != code || cached.offset != offset)
            cached = CachedSite{code, offset, site_table().intern(code, offset, key)};
        const uint32_t number = cached.number;
        if (!number) cached.code = nullptr;  // not kept alive by the table
        Py_DECREF(code);
        return number;
    }

    inline PyObject* site_code(uint32_t number) { return reinterpret_cast<PyObject*>(site_table().at(number).code); }
    inline int site_line(uint32_t number) {
        const Site site = site_table().at(number);
        return site.code ? PyCode_Addr2Line(site.code, site.offset) : 0;
    }

    }  // namespace
    }  // namespace owl
    """
    uint32_t call_site "owl::call_site"()
    PyObject* site_code "owl::site_code"(uint32_t number)
    int site_line "owl::site_line"(uint32_t number)


cdef tuple site_location(uint32_t site):
    cdef PyObject* code = site_code(site)
    if code is NULL:
        return ("<unknown>", 0)
    return ((<object>code).co_filename, site_line(site))
