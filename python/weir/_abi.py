"""weir.h as ctypes sees it. Written by generate_abi.py; do not edit.

Names are those of the header, which is the reference. Functions are in `FUNCTIONS`: weir._library binds them.
"""

# fmt: off

from __future__ import annotations

from ctypes import (
    CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint, c_uint32,
    c_uint64, c_void_p,
)
from typing import Any, Callable, Optional

class iovec(Structure):
    """struct iovec of <sys/uio.h>."""

    _fields_ = [
        ("iov_base", c_void_p),
        ("iov_len", c_size_t),
    ]


# Constants.

WEIR_VERSION_MAJOR = 0
WEIR_VERSION_MINOR = 1
WEIR_VERSION_PATCH = 0
WEIR_EOF = -10001
WEIR_EAI_ADDRFAMILY = -10101
WEIR_EAI_AGAIN = -10102
WEIR_EAI_BADFLAGS = -10103
WEIR_EAI_FAIL = -10104
WEIR_EAI_FAMILY = -10105
WEIR_EAI_NODATA = -10106
WEIR_EAI_NONAME = -10107
WEIR_EAI_OVERFLOW = -10108
WEIR_EAI_SERVICE = -10109
WEIR_EAI_SOCKTYPE = -10110
WEIR_ECANCELED = -125
WEIR_EBADF = -9
WEIR_EINVAL = -22
WEIR_EBUSY = -16
WEIR_ENOMEM = -12
WEIR_ETIMEDOUT = -110
WEIR_ESHUTDOWN = -108
WEIR_ENOTCONN = -107
WEIR_EISCONN = -106
WEIR_FOREVER = 0x7FFF_FFFF_FFFF_FFFF
WEIR_CONTEXT_MANUAL_CLOCK = 1
WEIR_CONTEXT_NO_INLINE = 2
WEIR_CONTEXT_MEASURE = 4
WEIR_CONTEXT_INTERRUPTIBLE = 8
WEIR_LOG_WARNING = 1
WEIR_LOG_LEAK = 2
WEIR_FORK_PREPARE = 1
WEIR_FORK_PARENT = 2
WEIR_FORK_CHILD = 3
WEIR_HOOK_PREPARE = 1
WEIR_HOOK_CHECK = 2
WEIR_HOOK_IDLE = 3
WEIR_OP_POST = 1
WEIR_OP_TIMER = 2
WEIR_OP_ACCEPT = 3
WEIR_OP_CONNECT = 4
WEIR_OP_READ = 5
WEIR_OP_WRITE = 6
WEIR_OP_WAIT = 7
WEIR_OP_RECEIVE = 8
WEIR_OP_SEND = 9
WEIR_OP_SIGNAL = 10
WEIR_OP_RESOLVE = 11
WEIR_OP_REVERSE = 12
WEIR_OP_WATCH = 13
WEIR_OP_PROCESS = 14
WEIR_OP_JOB = 15
WEIR_WAIT_READ = 1
WEIR_WAIT_WRITE = 2
WEIR_SHUTDOWN_READ = 0
WEIR_SHUTDOWN_WRITE = 1
WEIR_SHUTDOWN_BOTH = 2
WEIR_CONNECT_LIST_MAX = 64
WEIR_DATAGRAM_GSO = 1
WEIR_DATAGRAM_GRO = 2
WEIR_SIGNALS_INTERRUPT = 1
WEIR_SIGNALS_NO_CHILD_STOP = 2
WEIR_SIGNALS_NO_CHILD_WAIT = 4
WEIR_SIGNALS_CHAIN = 8
WEIR_SIGNALS_ANY_FLAGS = 16
WEIR_OPT_NO_DELAY = 1
WEIR_OPT_KEEP_ALIVE = 2
WEIR_OPT_KEEP_ALIVE_IDLE = 3
WEIR_OPT_KEEP_ALIVE_INTERVAL = 4
WEIR_OPT_KEEP_ALIVE_COUNT = 5
WEIR_OPT_USER_TIMEOUT = 6
WEIR_OPT_V6_ONLY = 7
WEIR_OPT_REUSE_ADDRESS = 8
WEIR_OPT_REUSE_PORT = 9
WEIR_OPT_SEND_BUFFER = 10
WEIR_OPT_RECEIVE_BUFFER = 11
WEIR_OPT_LINGER = 12
WEIR_OPT_TOS = 13
WEIR_OPT_TTL = 14
WEIR_OPT_QUICK_ACK = 15
WEIR_OPT_CORK = 16
WEIR_OPT_FAST_OPEN = 17
WEIR_OPT_FAST_OPEN_CONNECT = 18
WEIR_OPT_BROADCAST = 19
WEIR_OPT_MULTICAST_LOOP = 20
WEIR_OPT_MULTICAST_HOPS = 21
WEIR_OPT_MULTICAST_INTERFACE = 22
WEIR_OPT_SEGMENT_SIZE = 23
WEIR_OPT_GRO = 24
WEIR_ADDRESS_TEXT_MAX = 512
WEIR_WATCH_READ = 1
WEIR_WATCH_WRITE = 2
WEIR_WATCH_PRIORITY = 4
WEIR_WATCH_READ_HANGUP = 8
WEIR_WATCH_HANGUP = 16
WEIR_WATCH_ERROR = 32
WEIR_WATCH_TIMEOUT = 64
WEIR_WATCH_EDGE = 1
WEIR_WATCH_PERSISTENT = 2
WEIR_RESOLVE_PASSIVE = 1
WEIR_RESOLVE_CANONICAL_NAME = 2
WEIR_RESOLVE_NUMERIC_HOST = 4
WEIR_RESOLVE_NUMERIC_SERVICE = 8
WEIR_RESOLVE_ADDRESS_CONFIGURED = 16
WEIR_RESOLVE_V4_MAPPED = 32
WEIR_RESOLVE_ALL = 64
WEIR_REVERSE_NUMERIC_HOST = 1
WEIR_REVERSE_NUMERIC_SERVICE = 2
WEIR_REVERSE_NAME_REQUIRED = 4
WEIR_REVERSE_DATAGRAM = 8
WEIR_SUBMIT_POST = 1
WEIR_SUBMIT_READ_SOME = 2
WEIR_SUBMIT_READ = 3
WEIR_SUBMIT_WRITE_SOME = 4
WEIR_SUBMIT_WRITE = 5
WEIR_SUBMIT_READ_EACH = 6
WEIR_SUBMIT_RELEASE = 7
WEIR_SUBMIT_TIMER_AFTER = 8
WEIR_SUBMIT_TIMER_WAIT = 9
WEIR_SUBMIT_CANCEL = 10
WEIR_SUBMIT_CLOSE = 11
WEIR_SUBMIT_SEND = 12
WEIR_SUBMIT_SEND_COPY = 13
WEIR_SUBMIT_ACCEPT = 14
WEIR_SUBMIT_ACCEPT_EACH = 15
WEIR_SUBMIT_RECEIVE_EACH = 16
WEIR_SUBMIT_WATCH_CHANGE = 17

VERSION = "0.1.0"


# Callbacks and structs.

weir_callback = CFUNCTYPE(None, c_int, c_void_p)

weir_io_callback = CFUNCTYPE(None, c_int, c_size_t, c_void_p)

weir_value_callback = CFUNCTYPE(None, c_int, c_int, c_void_p)

weir_accept_callback = CFUNCTYPE(None, c_int, c_void_p, c_void_p, c_uint32, c_void_p)

weir_buffer_callback = CFUNCTYPE(None, c_int, c_void_p, c_size_t, c_void_p)

class weir_stall(Structure):
    _fields_ = [
        ("handle", c_void_p),
        ("duration_ns", c_int64),
        ("user", c_void_p),
        ("name", c_char_p),
    ]


weir_stall_callback = CFUNCTYPE(None, POINTER(weir_stall), c_void_p)

weir_log_callback = CFUNCTYPE(None, c_int, c_char_p, c_void_p)

class weir_context_options(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("flags", c_uint32),
        ("thread_hint", c_uint32),
        ("max_events", c_uint32),
        ("inline_budget_initial", c_uint32),
        ("inline_budget_max", c_uint32),
        ("inline_budget_unassisted", c_uint32),
        ("timer_slack_ns", c_int64),
        ("pool_slots", c_uint32),
        ("pool_slot_size", c_uint32),
        ("stall_limit_ns", c_int64),
        ("stall", weir_stall_callback),
        ("stall_user", c_void_p),
        ("log", weir_log_callback),
        ("log_user", c_void_p),
    ]


class weir_record(Structure):
    _fields_ = [
        ("user", c_void_p),
        ("value", c_uint64),
        ("extra", c_uint64),
        ("kind", c_uint32),
        ("status", c_int32),
    ]


class weir_until(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("capacity", c_size_t),
        ("filled", c_size_t),
        ("delimiter", c_void_p),
        ("delimiter_length", c_size_t),
    ]


class weir_connect_options(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("stagger_ns", c_int64),
        ("attempt_timeout_ns", c_int64),
    ]


class weir_datagram_message(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("length", c_size_t),
        ("address", c_void_p),
        ("bytes", c_size_t),
        ("address_length", c_uint32),
        ("status", c_int),
        ("segment_size", c_uint32),
        ("reserved", c_uint32),
    ]


weir_job_function = CFUNCTYPE(c_int, c_void_p)

class weir_resolve_hints(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("flags", c_uint32),
        ("family", c_int),
        ("socktype", c_int),
        ("protocol", c_int),
    ]


weir_resolve_callback = CFUNCTYPE(None, c_int, c_void_p, c_void_p)

weir_reverse_callback = CFUNCTYPE(None, c_int, c_void_p, c_void_p)

class weir_submission(Structure):
    _fields_ = [
        ("kind", c_uint32),
        ("result", c_int),
        ("handle", c_void_p),
        ("data", c_void_p),
        ("length", c_uint64),
        ("user", c_void_p),
    ]


class weir_stats(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("turns", c_uint64),
        ("events", c_uint64),
        ("callbacks", c_uint64),
        ("inline_completions", c_uint64),
        ("wakeups", c_uint64),
        ("interrupts", c_uint64),
        ("timer_arms", c_uint64),
        ("epoll_ctls", c_uint64),
        ("reads", c_uint64),
        ("writes", c_uint64),
        ("timers_fired", c_uint64),
        ("timer_lateness_sum_ns", c_uint64),
        ("timer_lateness_max_ns", c_uint64),
        ("longest_callback_ns", c_uint64),
        ("stalls", c_uint64),
        ("queue_length", c_uint64),
        ("records_waiting", c_uint64),
        ("work", c_uint64),
    ]


class weir_report_line(Structure):
    _fields_ = [
        ("handle", c_void_p),
        ("type_name", c_char_p),
        ("age_ns", c_int64),
        ("pending", c_size_t),
        ("name", c_char * 64),
    ]


class weir_allocator(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("allocate", CFUNCTYPE(c_void_p, c_size_t, c_size_t, c_void_p)),
        ("release", CFUNCTYPE(None, c_void_p, c_size_t, c_size_t, c_void_p)),
        ("user", c_void_p),
    ]


# The types of handles; a handle itself is an int (a token, never an address).

HANDLES = (
    "weir_acceptor",
    "weir_context",
    "weir_datagram",
    "weir_hook",
    "weir_job",
    "weir_process",
    "weir_resolver",
    "weir_signals",
    "weir_strand",
    "weir_stream",
    "weir_timer",
    "weir_watch",
    "weir_addresses",
    "weir_names",
)

STRUCTS = {
    "weir_stall": weir_stall,
    "weir_context_options": weir_context_options,
    "weir_record": weir_record,
    "weir_until": weir_until,
    "weir_connect_options": weir_connect_options,
    "weir_datagram_message": weir_datagram_message,
    "weir_resolve_hints": weir_resolve_hints,
    "weir_submission": weir_submission,
    "weir_stats": weir_stats,
    "weir_report_line": weir_report_line,
    "weir_allocator": weir_allocator,
}

# For each function: may it block (or call back), the type of its result, those of its arguments.

FUNCTIONS: dict[str, tuple[bool, Any, tuple[Any, ...]]] = {
    "weir_version": (False, c_uint32, ()),
    "weir_version_string": (False, c_char_p, ()),
    "weir_struct_size": (False, c_size_t, (c_char_p,)),
    "weir_handle_close": (False, c_int, (c_void_p,)),
    "weir_handle_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_handle_cancel_operation": (False, c_int, (c_void_p, c_void_p, POINTER(c_size_t))),
    "weir_handle_keep_fd": (False, c_int, (c_void_p, c_int)),
    "weir_handle_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_handle_pending": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_handle_set_name": (False, c_int, (c_void_p, c_char_p)),
    "weir_handle_name": (False, c_int, (c_void_p, c_void_p, c_size_t)),
    "weir_handle_set_tag": (False, c_int, (c_void_p, c_uint64)),
    "weir_handle_tag": (False, c_int, (c_void_p, POINTER(c_uint64))),
    "weir_handle_set_strand": (False, c_int, (c_void_p, c_void_p)),
    "weir_strerror": (False, c_char_p, (c_int,)),
    "weir_error_name": (False, c_char_p, (c_int,)),
    "weir_context_create": (False, c_int, (POINTER(weir_context_options), POINTER(c_void_p))),
    "weir_context_destroy": (True, c_int, (c_void_p,)),
    "weir_context_run": (True, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_context_run_one": (True, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_context_run_for": (True, c_int, (c_void_p, c_int64, POINTER(c_size_t))),
    "weir_context_run_until": (True, c_int, (c_void_p, c_int64, POINTER(c_size_t))),
    "weir_context_wait_one": (True, c_int, (c_void_p, c_int64, POINTER(c_size_t))),
    "weir_context_poll": (True, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_context_poll_one": (True, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_context_stop": (False, c_int, (c_void_p,)),
    "weir_context_stopped": (False, c_int, (c_void_p,)),
    "weir_context_restart": (False, c_int, (c_void_p,)),
    "weir_context_post": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_context_dispatch": (True, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_context_defer": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_context_work_begin": (False, c_int, (c_void_p,)),
    "weir_context_work_end": (False, c_int, (c_void_p,)),
    "weir_context_running_in_this_thread": (False, c_int, (c_void_p,)),
    "weir_context_fd": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_context_now": (False, c_int, (c_void_p, POINTER(c_int64))),
    "weir_context_turn_now": (False, c_int, (c_void_p, POINTER(c_int64))),
    "weir_context_advance": (False, c_int, (c_void_p, c_int64)),
    "weir_context_cancel_tag": (False, c_int, (c_void_p, c_uint64, POINTER(c_size_t))),
    "weir_context_notify_fork": (False, c_int, (c_void_p, c_int)),
    "weir_strand_create": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_strand_close": (False, c_int, (c_void_p,)),
    "weir_strand_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_strand_post": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_strand_dispatch": (True, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_strand_running_in_this_thread": (False, c_int, (c_void_p,)),
    "weir_hook_create": (False, c_int, (c_void_p, c_int, POINTER(c_void_p))),
    "weir_hook_close": (False, c_int, (c_void_p,)),
    "weir_hook_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_hook_start": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_hook_stop": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_context_wake": (False, c_int, (c_void_p,)),
    "weir_context_wakeup_fd": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_context_wakeup_values": (False, c_int, (c_void_p, POINTER(c_uint64))),
    "weir_context_reap": (True, c_int, (c_void_p, POINTER(weir_record), c_size_t, c_int64, POINTER(c_size_t))),
    "weir_timer_create": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_timer_close": (False, c_int, (c_void_p,)),
    "weir_timer_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_timer_expires_after": (False, c_int, (c_void_p, c_int64)),
    "weir_timer_expires_at": (False, c_int, (c_void_p, c_int64)),
    "weir_timer_expiry": (False, c_int, (c_void_p, POINTER(c_int64))),
    "weir_timer_remaining": (False, c_int, (c_void_p, POINTER(c_int64))),
    "weir_timer_wait": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_timer_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_timer_cancel_one": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_timer_start": (False, c_int, (c_void_p, c_int64, c_int64, c_void_p, c_void_p)),
    "weir_timer_stop": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_stream_create": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_stream_close": (False, c_int, (c_void_p,)),
    "weir_stream_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_stream_open": (False, c_int, (c_void_p, c_int)),
    "weir_stream_adopt": (False, c_int, (c_void_p, c_int)),
    "weir_stream_release": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_stream_fd": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_stream_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_stream_local_address": (False, c_int, (c_void_p, c_void_p, POINTER(c_uint32))),
    "weir_stream_remote_address": (False, c_int, (c_void_p, c_void_p, POINTER(c_uint32))),
    "weir_stream_bind": (False, c_int, (c_void_p, c_void_p, c_uint32)),
    "weir_stream_connect": (False, c_int, (c_void_p, c_void_p, c_uint32, c_void_p, c_void_p)),
    "weir_stream_read_some": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)),
    "weir_stream_read": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)),
    "weir_stream_readv_some": (False, c_int, (c_void_p, POINTER(iovec), c_size_t, c_void_p, c_void_p)),
    "weir_stream_readv": (False, c_int, (c_void_p, POINTER(iovec), c_size_t, c_void_p, c_void_p)),
    "weir_stream_write_some": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)),
    "weir_stream_write": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)),
    "weir_stream_writev_some": (False, c_int, (c_void_p, POINTER(iovec), c_size_t, c_void_p, c_void_p)),
    "weir_stream_writev": (False, c_int, (c_void_p, POINTER(iovec), c_size_t, c_void_p, c_void_p)),
    "weir_stream_try_read": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_size_t))),
    "weir_stream_try_readv": (False, c_int, (c_void_p, POINTER(iovec), c_size_t, POINTER(c_size_t))),
    "weir_stream_try_write": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_size_t))),
    "weir_stream_try_writev": (False, c_int, (c_void_p, POINTER(iovec), c_size_t, POINTER(c_size_t))),
    "weir_stream_wait": (False, c_int, (c_void_p, c_int, c_void_p, c_void_p)),
    "weir_stream_shutdown": (False, c_int, (c_void_p, c_int)),
    "weir_stream_set": (False, c_int, (c_void_p, c_int, c_int)),
    "weir_stream_get": (False, c_int, (c_void_p, c_int, POINTER(c_int))),
    "weir_stream_set_option": (False, c_int, (c_void_p, c_int, c_int, c_void_p, c_uint32)),
    "weir_stream_get_option": (False, c_int, (c_void_p, c_int, c_int, c_void_p, POINTER(c_uint32))),
    "weir_stream_bind_to_device": (False, c_int, (c_void_p, c_char_p)),
    "weir_stream_set_timeout": (False, c_int, (c_void_p, c_int, c_int64)),
    "weir_stream_send_file": (False, c_int, (c_void_p, c_int, c_int64, c_size_t, c_void_p, c_void_p)),
    "weir_stream_read_until": (False, c_int, (c_void_p, POINTER(weir_until), c_void_p, c_void_p)),
    "weir_stream_send": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)),
    "weir_stream_send_copy": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_size_t))),
    "weir_stream_queued": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_stream_set_high_water": (False, c_int, (c_void_p, c_size_t, c_size_t, c_void_p, c_void_p)),
    "weir_stream_connect_list": (False, c_int, (c_void_p, POINTER(c_void_p), POINTER(c_uint32), c_size_t, POINTER(weir_connect_options), c_void_p, c_void_p)),
    "weir_acceptor_create": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_acceptor_close": (False, c_int, (c_void_p,)),
    "weir_acceptor_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_acceptor_open": (False, c_int, (c_void_p, c_int)),
    "weir_acceptor_bind": (False, c_int, (c_void_p, c_void_p, c_uint32)),
    "weir_acceptor_listen": (False, c_int, (c_void_p, c_int)),
    "weir_acceptor_adopt": (False, c_int, (c_void_p, c_int)),
    "weir_acceptor_release": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_acceptor_fd": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_acceptor_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_acceptor_local_address": (False, c_int, (c_void_p, c_void_p, POINTER(c_uint32))),
    "weir_acceptor_accept": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_acceptor_accept_each": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_acceptor_wait": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_acceptor_set": (False, c_int, (c_void_p, c_int, c_int)),
    "weir_acceptor_get": (False, c_int, (c_void_p, c_int, POINTER(c_int))),
    "weir_acceptor_set_option": (False, c_int, (c_void_p, c_int, c_int, c_void_p, c_uint32)),
    "weir_acceptor_get_option": (False, c_int, (c_void_p, c_int, c_int, c_void_p, POINTER(c_uint32))),
    "weir_acceptor_bind_to_device": (False, c_int, (c_void_p, c_char_p)),
    "weir_datagram_create": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_datagram_close": (False, c_int, (c_void_p,)),
    "weir_datagram_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_datagram_open": (False, c_int, (c_void_p, c_int)),
    "weir_datagram_adopt": (False, c_int, (c_void_p, c_int)),
    "weir_datagram_release": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_datagram_fd": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_datagram_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_datagram_local_address": (False, c_int, (c_void_p, c_void_p, POINTER(c_uint32))),
    "weir_datagram_remote_address": (False, c_int, (c_void_p, c_void_p, POINTER(c_uint32))),
    "weir_datagram_bind": (False, c_int, (c_void_p, c_void_p, c_uint32)),
    "weir_datagram_connect": (False, c_int, (c_void_p, c_void_p, c_uint32)),
    "weir_datagram_disconnect": (False, c_int, (c_void_p,)),
    "weir_datagram_join": (False, c_int, (c_void_p, c_void_p, c_uint32, c_uint32)),
    "weir_datagram_leave": (False, c_int, (c_void_p, c_void_p, c_uint32, c_uint32)),
    "weir_datagram_features": (False, c_int, (POINTER(c_uint32),)),
    "weir_datagram_wait": (False, c_int, (c_void_p, c_int, c_void_p, c_void_p)),
    "weir_datagram_set": (False, c_int, (c_void_p, c_int, c_int)),
    "weir_datagram_get": (False, c_int, (c_void_p, c_int, POINTER(c_int))),
    "weir_datagram_set_option": (False, c_int, (c_void_p, c_int, c_int, c_void_p, c_uint32)),
    "weir_datagram_get_option": (False, c_int, (c_void_p, c_int, c_int, c_void_p, POINTER(c_uint32))),
    "weir_datagram_bind_to_device": (False, c_int, (c_void_p, c_char_p)),
    "weir_datagram_receive": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)),
    "weir_datagram_receive_from": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, POINTER(c_uint32), c_void_p, c_void_p)),
    "weir_datagram_send": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_void_p)),
    "weir_datagram_send_to": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_uint32, c_void_p, c_void_p)),
    "weir_datagram_try_receive": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_size_t), POINTER(c_size_t))),
    "weir_datagram_try_receive_from": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, POINTER(c_uint32), POINTER(c_size_t), POINTER(c_size_t))),
    "weir_datagram_try_send": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_size_t))),
    "weir_datagram_try_send_to": (False, c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_uint32, POINTER(c_size_t))),
    "weir_datagram_receive_batch": (False, c_int, (c_void_p, POINTER(weir_datagram_message), c_size_t, c_void_p, c_void_p)),
    "weir_datagram_send_batch": (False, c_int, (c_void_p, POINTER(weir_datagram_message), c_size_t, c_void_p, c_void_p)),
    "weir_stream_pair": (False, c_int, (c_void_p, POINTER(c_void_p), POINTER(c_void_p))),
    "weir_datagram_pair": (False, c_int, (c_void_p, POINTER(c_void_p), POINTER(c_void_p))),
    "weir_acceptor_unlink": (True, c_int, (c_void_p,)),
    "weir_datagram_unlink": (True, c_int, (c_void_p,)),
    "weir_stream_peer_credentials": (False, c_int, (c_void_p, POINTER(c_int32), POINTER(c_uint32), POINTER(c_uint32))),
    "weir_stream_write_fds": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_int), c_size_t, c_void_p, c_void_p)),
    "weir_stream_read_fds": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_int), POINTER(c_size_t), c_void_p, c_void_p)),
    "weir_datagram_send_fds": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_int), c_size_t, c_void_p, c_void_p)),
    "weir_datagram_receive_fds": (False, c_int, (c_void_p, c_void_p, c_size_t, POINTER(c_int), POINTER(c_size_t), c_void_p, c_void_p)),
    "weir_signals_create": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_signals_close": (False, c_int, (c_void_p,)),
    "weir_signals_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_signals_add": (False, c_int, (c_void_p, c_int, c_uint32)),
    "weir_signals_remove": (False, c_int, (c_void_p, c_int)),
    "weir_signals_clear": (False, c_int, (c_void_p,)),
    "weir_signals_wait": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_signals_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_signals_arrived": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_address_parse": (False, c_int, (c_char_p, c_void_p, POINTER(c_uint32))),
    "weir_address_format": (False, c_int, (c_void_p, c_uint32, c_void_p, c_size_t)),
    "weir_watch_create": (False, c_int, (c_void_p, c_int, POINTER(c_void_p))),
    "weir_watch_close": (False, c_int, (c_void_p,)),
    "weir_watch_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_watch_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_watch_start": (False, c_int, (c_void_p, c_uint, c_uint, c_int64, c_void_p, c_void_p)),
    "weir_watch_change": (False, c_int, (c_void_p, c_uint)),
    "weir_watch_stop": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_watch_feed": (False, c_int, (c_void_p, c_uint)),
    "weir_watch_set_fd": (False, c_int, (c_void_p, c_int)),
    "weir_watch_fd": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_watch_set_timeout": (False, c_int, (c_void_p, c_int64)),
    "weir_process_create": (False, c_int, (c_void_p, c_int, POINTER(c_void_p))),
    "weir_process_close": (False, c_int, (c_void_p,)),
    "weir_process_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_process_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_process_pid": (False, c_int, (c_void_p, POINTER(c_int))),
    "weir_process_wait": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_process_usage": (False, c_int, (c_void_p, c_void_p)),
    "weir_process_kill": (False, c_int, (c_void_p, c_int)),
    "weir_job_start": (False, c_int, (c_void_p, c_void_p, c_void_p, POINTER(c_void_p), c_void_p, c_void_p)),
    "weir_job_close": (False, c_int, (c_void_p,)),
    "weir_job_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_job_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_job_set_limit": (False, c_int, (c_uint32,)),
    "weir_resolver_create": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_resolver_close": (False, c_int, (c_void_p,)),
    "weir_resolver_cancel": (False, c_int, (c_void_p, POINTER(c_size_t))),
    "weir_resolver_context": (False, c_int, (c_void_p, POINTER(c_void_p))),
    "weir_resolver_resolve": (False, c_int, (c_void_p, c_char_p, c_char_p, POINTER(weir_resolve_hints), c_void_p, c_void_p)),
    "weir_resolver_reverse": (False, c_int, (c_void_p, c_void_p, c_uint32, c_uint32, c_void_p, c_void_p)),
    "weir_resolver_set_limit": (False, c_int, (c_uint32,)),
    "weir_addresses_count": (False, c_size_t, (c_void_p,)),
    "weir_addresses_get": (False, c_int, (c_void_p, c_size_t, POINTER(c_void_p), POINTER(c_uint32))),
    "weir_addresses_canonical_name": (False, c_char_p, (c_void_p,)),
    "weir_addresses_free": (False, None, (c_void_p,)),
    "weir_names_host": (False, c_char_p, (c_void_p,)),
    "weir_names_service": (False, c_char_p, (c_void_p,)),
    "weir_names_free": (False, None, (c_void_p,)),
    "weir_stream_read_each": (False, c_int, (c_void_p, c_void_p, c_void_p)),
    "weir_datagram_receive_each": (False, c_int, (c_void_p, c_void_p)),
    "weir_context_pool_sender": (False, c_int, (c_void_p, c_uint64, c_void_p, POINTER(c_uint32))),
    "weir_context_pool": (False, c_int, (c_void_p, POINTER(c_void_p), POINTER(c_size_t), POINTER(c_size_t))),
    "weir_context_pool_release": (False, c_int, (c_void_p, c_uint64)),
    "weir_context_enter": (True, c_int, (c_void_p, POINTER(weir_submission), c_size_t, POINTER(weir_record), c_size_t, c_int64, POINTER(c_size_t))),
    "weir_context_stats": (False, c_int, (c_void_p, POINTER(weir_stats))),
    "weir_context_report": (False, c_int, (c_void_p, POINTER(weir_report_line), c_size_t, POINTER(c_size_t))),
    "weir_handle_type_name": (False, c_char_p, (c_void_p,)),
    "weir_set_allocator": (False, c_int, (POINTER(weir_allocator),)),
}


class Functions:
    """The functions of the library by name, for type checkers."""

    weir_version: Callable[..., int]
    weir_version_string: Callable[..., Optional[bytes]]
    weir_struct_size: Callable[..., int]
    weir_handle_close: Callable[..., int]
    weir_handle_cancel: Callable[..., int]
    weir_handle_cancel_operation: Callable[..., int]
    weir_handle_keep_fd: Callable[..., int]
    weir_handle_context: Callable[..., int]
    weir_handle_pending: Callable[..., int]
    weir_handle_set_name: Callable[..., int]
    weir_handle_name: Callable[..., int]
    weir_handle_set_tag: Callable[..., int]
    weir_handle_tag: Callable[..., int]
    weir_handle_set_strand: Callable[..., int]
    weir_strerror: Callable[..., Optional[bytes]]
    weir_error_name: Callable[..., Optional[bytes]]
    weir_context_create: Callable[..., int]
    weir_context_destroy: Callable[..., int]
    weir_context_run: Callable[..., int]
    weir_context_run_one: Callable[..., int]
    weir_context_run_for: Callable[..., int]
    weir_context_run_until: Callable[..., int]
    weir_context_wait_one: Callable[..., int]
    weir_context_poll: Callable[..., int]
    weir_context_poll_one: Callable[..., int]
    weir_context_stop: Callable[..., int]
    weir_context_stopped: Callable[..., int]
    weir_context_restart: Callable[..., int]
    weir_context_post: Callable[..., int]
    weir_context_dispatch: Callable[..., int]
    weir_context_defer: Callable[..., int]
    weir_context_work_begin: Callable[..., int]
    weir_context_work_end: Callable[..., int]
    weir_context_running_in_this_thread: Callable[..., int]
    weir_context_fd: Callable[..., int]
    weir_context_now: Callable[..., int]
    weir_context_turn_now: Callable[..., int]
    weir_context_advance: Callable[..., int]
    weir_context_cancel_tag: Callable[..., int]
    weir_context_notify_fork: Callable[..., int]
    weir_strand_create: Callable[..., int]
    weir_strand_close: Callable[..., int]
    weir_strand_context: Callable[..., int]
    weir_strand_post: Callable[..., int]
    weir_strand_dispatch: Callable[..., int]
    weir_strand_running_in_this_thread: Callable[..., int]
    weir_hook_create: Callable[..., int]
    weir_hook_close: Callable[..., int]
    weir_hook_context: Callable[..., int]
    weir_hook_start: Callable[..., int]
    weir_hook_stop: Callable[..., int]
    weir_context_wake: Callable[..., int]
    weir_context_wakeup_fd: Callable[..., int]
    weir_context_wakeup_values: Callable[..., int]
    weir_context_reap: Callable[..., int]
    weir_timer_create: Callable[..., int]
    weir_timer_close: Callable[..., int]
    weir_timer_context: Callable[..., int]
    weir_timer_expires_after: Callable[..., int]
    weir_timer_expires_at: Callable[..., int]
    weir_timer_expiry: Callable[..., int]
    weir_timer_remaining: Callable[..., int]
    weir_timer_wait: Callable[..., int]
    weir_timer_cancel: Callable[..., int]
    weir_timer_cancel_one: Callable[..., int]
    weir_timer_start: Callable[..., int]
    weir_timer_stop: Callable[..., int]
    weir_stream_create: Callable[..., int]
    weir_stream_close: Callable[..., int]
    weir_stream_cancel: Callable[..., int]
    weir_stream_open: Callable[..., int]
    weir_stream_adopt: Callable[..., int]
    weir_stream_release: Callable[..., int]
    weir_stream_fd: Callable[..., int]
    weir_stream_context: Callable[..., int]
    weir_stream_local_address: Callable[..., int]
    weir_stream_remote_address: Callable[..., int]
    weir_stream_bind: Callable[..., int]
    weir_stream_connect: Callable[..., int]
    weir_stream_read_some: Callable[..., int]
    weir_stream_read: Callable[..., int]
    weir_stream_readv_some: Callable[..., int]
    weir_stream_readv: Callable[..., int]
    weir_stream_write_some: Callable[..., int]
    weir_stream_write: Callable[..., int]
    weir_stream_writev_some: Callable[..., int]
    weir_stream_writev: Callable[..., int]
    weir_stream_try_read: Callable[..., int]
    weir_stream_try_readv: Callable[..., int]
    weir_stream_try_write: Callable[..., int]
    weir_stream_try_writev: Callable[..., int]
    weir_stream_wait: Callable[..., int]
    weir_stream_shutdown: Callable[..., int]
    weir_stream_set: Callable[..., int]
    weir_stream_get: Callable[..., int]
    weir_stream_set_option: Callable[..., int]
    weir_stream_get_option: Callable[..., int]
    weir_stream_bind_to_device: Callable[..., int]
    weir_stream_set_timeout: Callable[..., int]
    weir_stream_send_file: Callable[..., int]
    weir_stream_read_until: Callable[..., int]
    weir_stream_send: Callable[..., int]
    weir_stream_send_copy: Callable[..., int]
    weir_stream_queued: Callable[..., int]
    weir_stream_set_high_water: Callable[..., int]
    weir_stream_connect_list: Callable[..., int]
    weir_acceptor_create: Callable[..., int]
    weir_acceptor_close: Callable[..., int]
    weir_acceptor_cancel: Callable[..., int]
    weir_acceptor_open: Callable[..., int]
    weir_acceptor_bind: Callable[..., int]
    weir_acceptor_listen: Callable[..., int]
    weir_acceptor_adopt: Callable[..., int]
    weir_acceptor_release: Callable[..., int]
    weir_acceptor_fd: Callable[..., int]
    weir_acceptor_context: Callable[..., int]
    weir_acceptor_local_address: Callable[..., int]
    weir_acceptor_accept: Callable[..., int]
    weir_acceptor_accept_each: Callable[..., int]
    weir_acceptor_wait: Callable[..., int]
    weir_acceptor_set: Callable[..., int]
    weir_acceptor_get: Callable[..., int]
    weir_acceptor_set_option: Callable[..., int]
    weir_acceptor_get_option: Callable[..., int]
    weir_acceptor_bind_to_device: Callable[..., int]
    weir_datagram_create: Callable[..., int]
    weir_datagram_close: Callable[..., int]
    weir_datagram_cancel: Callable[..., int]
    weir_datagram_open: Callable[..., int]
    weir_datagram_adopt: Callable[..., int]
    weir_datagram_release: Callable[..., int]
    weir_datagram_fd: Callable[..., int]
    weir_datagram_context: Callable[..., int]
    weir_datagram_local_address: Callable[..., int]
    weir_datagram_remote_address: Callable[..., int]
    weir_datagram_bind: Callable[..., int]
    weir_datagram_connect: Callable[..., int]
    weir_datagram_disconnect: Callable[..., int]
    weir_datagram_join: Callable[..., int]
    weir_datagram_leave: Callable[..., int]
    weir_datagram_features: Callable[..., int]
    weir_datagram_wait: Callable[..., int]
    weir_datagram_set: Callable[..., int]
    weir_datagram_get: Callable[..., int]
    weir_datagram_set_option: Callable[..., int]
    weir_datagram_get_option: Callable[..., int]
    weir_datagram_bind_to_device: Callable[..., int]
    weir_datagram_receive: Callable[..., int]
    weir_datagram_receive_from: Callable[..., int]
    weir_datagram_send: Callable[..., int]
    weir_datagram_send_to: Callable[..., int]
    weir_datagram_try_receive: Callable[..., int]
    weir_datagram_try_receive_from: Callable[..., int]
    weir_datagram_try_send: Callable[..., int]
    weir_datagram_try_send_to: Callable[..., int]
    weir_datagram_receive_batch: Callable[..., int]
    weir_datagram_send_batch: Callable[..., int]
    weir_stream_pair: Callable[..., int]
    weir_datagram_pair: Callable[..., int]
    weir_acceptor_unlink: Callable[..., int]
    weir_datagram_unlink: Callable[..., int]
    weir_stream_peer_credentials: Callable[..., int]
    weir_stream_write_fds: Callable[..., int]
    weir_stream_read_fds: Callable[..., int]
    weir_datagram_send_fds: Callable[..., int]
    weir_datagram_receive_fds: Callable[..., int]
    weir_signals_create: Callable[..., int]
    weir_signals_close: Callable[..., int]
    weir_signals_context: Callable[..., int]
    weir_signals_add: Callable[..., int]
    weir_signals_remove: Callable[..., int]
    weir_signals_clear: Callable[..., int]
    weir_signals_wait: Callable[..., int]
    weir_signals_cancel: Callable[..., int]
    weir_signals_arrived: Callable[..., int]
    weir_address_parse: Callable[..., int]
    weir_address_format: Callable[..., int]
    weir_watch_create: Callable[..., int]
    weir_watch_close: Callable[..., int]
    weir_watch_cancel: Callable[..., int]
    weir_watch_context: Callable[..., int]
    weir_watch_start: Callable[..., int]
    weir_watch_change: Callable[..., int]
    weir_watch_stop: Callable[..., int]
    weir_watch_feed: Callable[..., int]
    weir_watch_set_fd: Callable[..., int]
    weir_watch_fd: Callable[..., int]
    weir_watch_set_timeout: Callable[..., int]
    weir_process_create: Callable[..., int]
    weir_process_close: Callable[..., int]
    weir_process_cancel: Callable[..., int]
    weir_process_context: Callable[..., int]
    weir_process_pid: Callable[..., int]
    weir_process_wait: Callable[..., int]
    weir_process_usage: Callable[..., int]
    weir_process_kill: Callable[..., int]
    weir_job_start: Callable[..., int]
    weir_job_close: Callable[..., int]
    weir_job_cancel: Callable[..., int]
    weir_job_context: Callable[..., int]
    weir_job_set_limit: Callable[..., int]
    weir_resolver_create: Callable[..., int]
    weir_resolver_close: Callable[..., int]
    weir_resolver_cancel: Callable[..., int]
    weir_resolver_context: Callable[..., int]
    weir_resolver_resolve: Callable[..., int]
    weir_resolver_reverse: Callable[..., int]
    weir_resolver_set_limit: Callable[..., int]
    weir_addresses_count: Callable[..., int]
    weir_addresses_get: Callable[..., int]
    weir_addresses_canonical_name: Callable[..., Optional[bytes]]
    weir_addresses_free: Callable[..., None]
    weir_names_host: Callable[..., Optional[bytes]]
    weir_names_service: Callable[..., Optional[bytes]]
    weir_names_free: Callable[..., None]
    weir_stream_read_each: Callable[..., int]
    weir_datagram_receive_each: Callable[..., int]
    weir_context_pool_sender: Callable[..., int]
    weir_context_pool: Callable[..., int]
    weir_context_pool_release: Callable[..., int]
    weir_context_enter: Callable[..., int]
    weir_context_stats: Callable[..., int]
    weir_context_report: Callable[..., int]
    weir_handle_type_name: Callable[..., Optional[bytes]]
    weir_set_allocator: Callable[..., int]
