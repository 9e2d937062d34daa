// weir::resolver: names and addresses, both ways.
#ifndef WEIR_RESOLVER_HPP
#define WEIR_RESOLVER_HPP

#include "address.hpp"
#include "context.hpp"

#include <cerrno>
#include <iterator>
#include <memory>

namespace weir {

// What a forward lookup found: a range of addresses. Outlives resolver and context.
class addresses {
public:
    addresses() noexcept = default;
    explicit addresses(weir_addresses *found) noexcept : found_(found) {}

    std::size_t size() const noexcept { return weir_addresses_count(found_.get()); }
    bool empty() const noexcept { return size() == 0; }

    // Throws std::system_error where there is no such address.
    address operator[](std::size_t index) const
    {
        const ::sockaddr *one = nullptr;
        ::socklen_t length = 0;
        check(weir_addresses_get(found_.get(), index, &one, &length));
        return address(one, length);
    }

    // Empty where it was not asked for.
    std::string_view canonical_name() const noexcept
    {
        const char *name = weir_addresses_canonical_name(found_.get());
        return name != nullptr ? std::string_view(name) : std::string_view();
    }

    // Borrowed from the list: what data() and size() of it point to.
    class entry {
    public:
        const ::sockaddr *data() const noexcept { return data_; }
        ::socklen_t size() const noexcept { return length_; }
        operator address() const noexcept { return address(data_, length_); }

    private:
        friend class addresses;
        const ::sockaddr *data_ = nullptr;
        ::socklen_t length_ = 0;
    };
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = entry;
        using difference_type = std::ptrdiff_t;
        using pointer = const entry *;
        using reference = entry;

        iterator(const addresses *list, std::size_t at) noexcept : list_(list), at_(at) {}
        entry operator*() const noexcept
        {
            entry one;
            weir_addresses_get(list_->found_.get(), at_, &one.data_, &one.length_);
            return one;
        }
        iterator &operator++() noexcept
        {
            ++at_;
            return *this;
        }
        iterator operator++(int) noexcept
        {
            iterator before = *this;
            ++at_;
            return before;
        }
        friend bool operator==(iterator a, iterator b) noexcept { return a.at_ == b.at_; }
        friend bool operator!=(iterator a, iterator b) noexcept { return a.at_ != b.at_; }

    private:
        const addresses *list_;
        std::size_t at_;
    };
    iterator begin() const noexcept { return {this, 0}; }
    iterator end() const noexcept { return {this, size()}; }

private:
    struct freed {
        void operator()(weir_addresses *found) const noexcept { weir_addresses_free(found); }
    };
    std::unique_ptr<weir_addresses, freed> found_;
};

// What a reverse lookup found. Outlives resolver and context.
class names {
public:
    names() noexcept = default;
    explicit names(weir_names *found) noexcept : found_(found) {}

    std::string_view host() const noexcept { return text(weir_names_host(found_.get())); }
    std::string_view service() const noexcept { return text(weir_names_service(found_.get())); }

private:
    static std::string_view text(const char *from) noexcept
    {
        return from != nullptr ? std::string_view(from) : std::string_view();
    }
    struct freed {
        void operator()(weir_names *found) const noexcept { weir_names_free(found); }
    };
    std::unique_ptr<weir_names, freed> found_;
};

// What kind of addresses is wanted.
struct resolve_hints : ::weir_resolve_hints {
    resolve_hints() noexcept : ::weir_resolve_hints{} { struct_size = sizeof(::weir_resolve_hints); }
};

namespace detail {

// weir_resolve_callback: void(std::error_code, weir::addresses).
struct on_resolve {
    using c_callback = weir_resolve_callback;
    using result_type = result<addresses>;
    template <class F>
    static constexpr bool takes = std::is_invocable_v<F &, std::error_code, addresses>;

    template <class Sink>
    static void thunk(int status, weir_addresses *found, void *user) noexcept
    {
        Sink::complete(user, status, [=](context_state &) { return std::tuple(make_error(status), addresses(found)); });
    }
};

// weir_reverse_callback: void(std::error_code, weir::names).
struct on_reverse {
    using c_callback = weir_reverse_callback;
    using result_type = result<names>;
    template <class F>
    static constexpr bool takes = std::is_invocable_v<F &, std::error_code, names>;

    template <class Sink>
    static void thunk(int status, weir_names *found, void *user) noexcept
    {
        Sink::complete(user, status, [=](context_state &) { return std::tuple(make_error(status), names(found)); });
    }
};

// A text with its NUL, or NULL for an empty one.
class terminated {
public:
    explicit terminated(std::string_view from) noexcept
    {
        if (from.size() >= sizeof text_)
            problem_ = -ENAMETOOLONG;
        else if (from.find('\0') != std::string_view::npos)
            problem_ = WEIR_EINVAL;
        else
            text_[from.copy(text_, from.size())] = 0;
        empty_ = from.empty();
    }
    int problem() const noexcept { return problem_; }
    const char *get() const noexcept { return empty_ ? nullptr : text_; }

private:
    char text_[1024 + 1];
    int problem_ = 0;
    bool empty_;
};

} // namespace detail

class resolver : public detail::handle<weir_resolver> {
public:
    resolver() noexcept = default;
    explicit resolver(const context &of)
        : handle(detail::state_of(of), made_by([&](weir_resolver **out) { return weir_resolver_create(of.get(), out); }))
    {
    }

    // void(std::error_code, weir::addresses), or awaitable. An empty host is this machine, an empty service port 0. An
    // awaited lookup reads the texts when it is awaited.
    template <class... F>
    [[nodiscard]] auto resolve(std::string_view host, std::string_view service, const resolve_hints &hints,
                               F &&...call) const
    {
        return initiate<detail::on_resolve>(
            [raw = get(), host, service, hints](weir_resolve_callback callback, void *user) {
                detail::terminated h(host), s(service);
                if (h.problem() != 0 || s.problem() != 0)
                    return h.problem() != 0 ? h.problem() : s.problem();
                return weir_resolver_resolve(raw, h.get(), s.get(), &hints, callback, user);
            },
            std::forward<F>(call)...);
    }
    template <class... F, std::enable_if_t<(... && !std::is_convertible_v<F, const resolve_hints &>), int> = 0>
    [[nodiscard]] auto resolve(std::string_view host, std::string_view service, F &&...call) const
    {
        return resolve(host, service, resolve_hints(), std::forward<F>(call)...);
    }

    // void(std::error_code, weir::names), or awaitable. `flags` are WEIR_REVERSE_...
    template <class... F>
    [[nodiscard]] auto reverse(const address &of, std::uint32_t flags, F &&...call) const
    {
        return initiate<detail::on_reverse>(
            [raw = get(), of, flags](weir_reverse_callback callback, void *user) {
                return weir_resolver_reverse(raw, of.data(), of.size(), flags, callback, user);
            },
            std::forward<F>(call)...);
    }

    // Threads of the process that may wait for lookups at once.
    static void set_limit(std::uint32_t threads) { check(weir_resolver_set_limit(threads)); }
};

} // namespace weir

#endif
