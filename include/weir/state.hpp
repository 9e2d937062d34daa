// What a context and everything that belongs to it share: the exception that left a callback, and the pooled nodes in
// which callbacks live until their completion has come. Internal.
#ifndef WEIR_STATE_HPP
#define WEIR_STATE_HPP

#include "error.hpp"

#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <new>
#include <utility>

namespace weir {
namespace detail {

class context_state;

// The head of what is kept for a pending operation.
struct node {
    context_state *state = nullptr;
};

// Callables up to this size, in bytes, cost no allocation once the context has warmed up.
constexpr std::size_t small_callable = 128;
constexpr std::size_t node_size = sizeof(node) + small_callable;

// Two counts keep it. Users (the context object, and each run function while it runs) keep the weir_context: the last
// one destroys it, which delivers all that is pending. References (the users together, and each handle object)
// keep the memory.
class context_state {
public:
    explicit context_state(weir_context *raw) noexcept : raw_(raw) {}
    context_state(const context_state &) = delete;
    context_state &operator=(const context_state &) = delete;

    weir_context *raw() const noexcept { return raw_; }

    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void drop_reference() noexcept
    {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete this;
    }

    void add_user() noexcept
    {
        add_reference();
        users_.fetch_add(1, std::memory_order_relaxed);
    }
    // Destroys the context if this is the last user, and gives the code.
    int drop_user() noexcept
    {
        int code = 0;
        if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            code = end();
        // Inside a run function that was called past this header: the context can't be destroyed, and its memory stays.
        if (code != WEIR_EBUSY)
            drop_reference();
        return code;
    }
    // Destroys the context unless the caller is inside it; then drop_user() of the run function does so.
    int try_end() noexcept
    {
        int code = end();
        if (code == WEIR_EBUSY)
            weir_context_stop(raw_);
        return code;
    }

    // Keeps an exception for the run function, and has that return. The first one stays.
    void fail(std::exception_ptr failure) noexcept
    {
        {
            std::lock_guard<std::mutex> guard(lock_);
            if (!failure_)
                failure_ = std::move(failure);
            failed_.store(true, std::memory_order_release);
        }
        weir_context_stop(raw_);
    }
    std::exception_ptr take_failure() noexcept
    {
        if (!failed_.load(std::memory_order_acquire))
            return nullptr;
        std::lock_guard<std::mutex> guard(lock_);
        failed_.store(false, std::memory_order_relaxed);
        return std::exchange(failure_, nullptr);
    }

    // A node of type N, which begins with `node`.
    template <class N, class... Arguments>
    N *make(Arguments &&...arguments)
    {
        void *room = fits<N> ? take() : nullptr;
        N *made = nullptr;
        if (fits<N>) {
            try {
                made = new (room) N(std::forward<Arguments>(arguments)...);
            } catch (...) {
                give_back(room);
                throw;
            }
        } else {
            made = new N(std::forward<Arguments>(arguments)...);
        }
        made->state = this;
        return made;
    }
    template <class N>
    void destroy(N *made) noexcept
    {
        if (fits<N>) {
            made->~N();
            give_back(made);
        } else {
            delete made;
        }
    }

private:
    struct free_node {
        free_node *next;
    };

    template <class N>
    static constexpr bool fits = sizeof(N) <= node_size && alignof(N) <= alignof(std::max_align_t);

    ~context_state()
    {
        while (free_ != nullptr)
            ::operator delete(std::exchange(free_, free_->next));
    }

    void *take()
    {
        {
            std::lock_guard<std::mutex> guard(lock_);
            if (free_ != nullptr)
                return std::exchange(free_, free_->next);
        }
        return ::operator new(node_size);
    }
    void give_back(void *room) noexcept
    {
        std::lock_guard<std::mutex> guard(lock_);
        free_ = new (room) free_node{free_};
    }

    // The handle is dead when this returns, unless it is WEIR_EBUSY. A second call gives WEIR_EBADF.
    int end() noexcept { return weir_context_destroy(raw_); }

    weir_context *const raw_;
    std::atomic<std::size_t> references_{1};
    std::atomic<std::size_t> users_{1};
    std::atomic<bool> failed_{false};
    std::mutex lock_;
    free_node *free_ = nullptr;
    std::exception_ptr failure_;
};

} // namespace detail
} // namespace weir

#endif
