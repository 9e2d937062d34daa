// Views of memory that is read into or written from. Like a span they own nothing: the memory must stay until the
// operation completes, or until a cancel or close that ended it has returned.
#ifndef WEIR_BUFFER_HPP
#define WEIR_BUFFER_HPP

#include "../weir.h"

#include <cstddef>
#include <iterator>
#include <string_view>
#include <type_traits>

#if defined(__cplusplus) && __cplusplus >= 202002L
#include <span>
#endif

namespace weir {
namespace detail {

// What std::data() of a container points to; void where there is no such thing.
template <class C, class = void>
struct element {
    using type = void;
};
template <class C>
struct element<C, std::void_t<decltype(std::data(std::declval<C &>())), decltype(std::size(std::declval<C &>()))>> {
    using type = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>;
};
template <class C>
using element_t = typename element<std::remove_reference_t<C>>::type;

template <class E>
constexpr bool is_bytes = !std::is_void_v<E> && std::is_trivially_copyable_v<E> && !std::is_pointer_v<E>;

} // namespace detail

// Memory to be read into: from a pointer and a length in bytes, or from an array, std::vector, std::string, std::span and
// so on of anything that may be copied byte by byte.
class buffer {
public:
    constexpr buffer() noexcept = default;
    constexpr buffer(void *data, std::size_t size) noexcept : data_(data), size_(size) {}

    template <class C, class E = detail::element_t<C>,
              std::enable_if_t<detail::is_bytes<E> && !std::is_const_v<E>, int> = 0>
    constexpr buffer(C &&container) noexcept
        : data_(std::data(container)), size_(std::size(container) * sizeof(E))
    {
    }

    constexpr void *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
#if defined(__cpp_lib_span)
    std::span<std::byte> bytes() const noexcept { return {static_cast<std::byte *>(data_), size_}; }
#endif

private:
    void *data_ = nullptr;
    std::size_t size_ = 0;
};

// Memory to be written from. A string literal counts without its NUL.
class const_buffer {
public:
    constexpr const_buffer() noexcept = default;
    constexpr const_buffer(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}
    constexpr const_buffer(buffer from) noexcept : data_(from.data()), size_(from.size()) {}
    template <std::size_t N>
    constexpr const_buffer(const char (&literal)[N]) noexcept : data_(literal), size_(N - 1)
    {
    }
    // Not a literal: all of it.
    template <std::size_t N>
    constexpr const_buffer(char (&array)[N]) noexcept : data_(array), size_(N)
    {
    }

    template <class C, class E = detail::element_t<C>,
              std::enable_if_t<detail::is_bytes<E> && !std::is_array_v<std::remove_reference_t<C>>, int> = 0>
    constexpr const_buffer(C &&container) noexcept
        : data_(std::data(container)), size_(std::size(container) * sizeof(E))
    {
    }
    template <class E, std::size_t N,
              std::enable_if_t<detail::is_bytes<E> && !std::is_same_v<std::remove_const_t<E>, char>, int> = 0>
    constexpr const_buffer(E (&array)[N]) noexcept : data_(array), size_(sizeof array)
    {
    }

    constexpr const void *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    std::string_view text() const noexcept { return {static_cast<const char *>(data_), size_}; }
#if defined(__cpp_lib_span)
    std::span<const std::byte> bytes() const noexcept { return {static_cast<const std::byte *>(data_), size_}; }
#endif

private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

// Several buffers for one transfer: an array, std::vector, std::span and so on of iovec. It stays as long as the
// memory that it points to.
class iovecs {
public:
    constexpr iovecs(const ::iovec *data, std::size_t count) noexcept : data_(data), count_(count) {}
    template <class C, std::enable_if_t<std::is_same_v<std::remove_const_t<detail::element_t<C>>, ::iovec>, int> = 0>
    constexpr iovecs(C &&container) noexcept : data_(std::data(container)), count_(std::size(container))
    {
    }

    constexpr const ::iovec *data() const noexcept { return data_; }
    constexpr std::size_t count() const noexcept { return count_; }

private:
    const ::iovec *data_;
    std::size_t count_;
};

} // namespace weir

#endif
