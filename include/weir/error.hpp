// Errors as std::error_code: the value is libweir's own code (0, a negated errno or one of WEIR_...), the
// text is that of weir_strerror(), and a negated errno equals its std::errc.
//     if (error == weir::errc::eof) ...
//     if (error == std::errc::connection_refused) ...
#ifndef WEIR_ERROR_HPP
#define WEIR_ERROR_HPP

#include "../weir.h"

#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weir {

// The codes that have a name in weir.h. Every other one is a negated errno: compare those with std::errc.
enum class errc : int {
    eof = WEIR_EOF,
    canceled = WEIR_ECANCELED,
    bad_handle = WEIR_EBADF,
    invalid = WEIR_EINVAL,
    busy = WEIR_EBUSY,
    no_memory = WEIR_ENOMEM,
    timed_out = WEIR_ETIMEDOUT,
    shut_down = WEIR_ESHUTDOWN,
    not_connected = WEIR_ENOTCONN,
    already_connected = WEIR_EISCONN,
    eai_addrfamily = WEIR_EAI_ADDRFAMILY,
    eai_again = WEIR_EAI_AGAIN,
    eai_badflags = WEIR_EAI_BADFLAGS,
    eai_fail = WEIR_EAI_FAIL,
    eai_family = WEIR_EAI_FAMILY,
    eai_nodata = WEIR_EAI_NODATA,
    eai_noname = WEIR_EAI_NONAME,
    eai_overflow = WEIR_EAI_OVERFLOW,
    eai_service = WEIR_EAI_SERVICE,
    eai_socktype = WEIR_EAI_SOCKTYPE,
};

namespace detail {

class category_type final : public std::error_category {
public:
    const char *name() const noexcept override { return "weir"; }

    std::string message(int code) const override { return weir_strerror(code); }

    std::error_condition default_error_condition(int code) const noexcept override
    {
        // Codes of the library's own begin far below the last errno, which is 4095.
        if (code < 0 && code >= -4095)
            return std::error_condition(-code, std::generic_category());
        return std::error_condition(code, *this);
    }
};

} // namespace detail

// The category of every error_code in this header.
inline const std::error_category &category() noexcept
{
    static const detail::category_type instance;
    return instance;
}

inline std::error_code make_error_code(errc code) noexcept
{
    return std::error_code(static_cast<int>(code), category());
}

// A code of the C interface as an error_code.
inline std::error_code make_error(int code) noexcept
{
    return std::error_code(code, category());
}

// Throws std::system_error unless the code is 0.
inline void check(std::error_code error)
{
    if (error)
        throw std::system_error(error);
}

inline void check(int code)
{
    if (code != 0)
        throw std::system_error(make_error(code));
}

// What an awaited operation gave: `auto [error, value] = co_await ...`, or `(co_await ...).get()`, which throws.
// `value` holds also with an error: an operation that was cancelled half way tells the bytes that had moved.
template <class T>
struct result {
    std::error_code error;
    T value{};

    explicit operator bool() const noexcept { return !error; }

    T &get() &
    {
        check(error);
        return value;
    }
    T get() &&
    {
        check(error);
        return std::move(value);
    }
};

} // namespace weir

template <>
struct std::is_error_code_enum<weir::errc> : std::true_type {};

#endif
