//! Names of socket options.
//!
//! The numbers are this library's own and end up in `services::options`.

use libc::c_int;

/// TCP_NODELAY: 1 sends small segments at once.
pub const WEIR_OPT_NO_DELAY: c_int = 1;
/// SO_KEEPALIVE: 1 probes an idle peer.
pub const WEIR_OPT_KEEP_ALIVE: c_int = 2;
/// TCP_KEEPIDLE: seconds of silence before the first probe.
pub const WEIR_OPT_KEEP_ALIVE_IDLE: c_int = 3;
/// TCP_KEEPINTVL: seconds between probes.
pub const WEIR_OPT_KEEP_ALIVE_INTERVAL: c_int = 4;
/// TCP_KEEPCNT: probes without an answer that end the connection.
pub const WEIR_OPT_KEEP_ALIVE_COUNT: c_int = 5;
/// TCP_USER_TIMEOUT: milliseconds that data may stay unacknowledged.
pub const WEIR_OPT_USER_TIMEOUT: c_int = 6;
/// IPV6_V6ONLY: 1 keeps an IPv6 socket from IPv4. Before bind.
pub const WEIR_OPT_V6_ONLY: c_int = 7;
/// SO_REUSEADDR. Before bind.
pub const WEIR_OPT_REUSE_ADDRESS: c_int = 8;
/// SO_REUSEPORT: several sockets share a port. Before bind.
pub const WEIR_OPT_REUSE_PORT: c_int = 9;
/// SO_SNDBUF, in bytes; the kernel doubles it.
pub const WEIR_OPT_SEND_BUFFER: c_int = 10;
/// SO_RCVBUF, in bytes; the kernel doubles it.
pub const WEIR_OPT_RECEIVE_BUFFER: c_int = 11;
/// SO_LINGER: seconds that close may take to send the rest, 0 to reset the connection, -1 for off.
pub const WEIR_OPT_LINGER: c_int = 12;
/// IP_TOS, or IPV6_TCLASS on an IPv6 socket.
pub const WEIR_OPT_TOS: c_int = 13;
/// IP_TTL, or IPV6_UNICAST_HOPS on an IPv6 socket.
pub const WEIR_OPT_TTL: c_int = 14;
/// TCP_QUICKACK: 1 acknowledges at once. The kernel may reset it.
pub const WEIR_OPT_QUICK_ACK: c_int = 15;
/// TCP_CORK: 1 holds partial segments back.
pub const WEIR_OPT_CORK: c_int = 16;
/// TCP_FASTOPEN: length of a listener's queue of fast opens.
pub const WEIR_OPT_FAST_OPEN: c_int = 17;
/// TCP_FASTOPEN_CONNECT: 1 lets a connect send data with its first segment.
pub const WEIR_OPT_FAST_OPEN_CONNECT: c_int = 18;
/// SO_BROADCAST: 1 allows datagrams to broadcast addresses.
pub const WEIR_OPT_BROADCAST: c_int = 19;
/// IP_MULTICAST_LOOP or IPV6_MULTICAST_LOOP: 1 lets this machine receive its own multicast.
pub const WEIR_OPT_MULTICAST_LOOP: c_int = 20;
/// IP_MULTICAST_TTL or IPV6_MULTICAST_HOPS: hops of what is sent to a group; 1 by default.
pub const WEIR_OPT_MULTICAST_HOPS: c_int = 21;
/// IP_MULTICAST_IF or IPV6_MULTICAST_IF: index of the interface that multicast leaves by; 0: the kernel's choice.
/// Reading it on an IPv4 socket is -EOPNOTSUPP before Linux 6.14 or so.
pub const WEIR_OPT_MULTICAST_INTERFACE: c_int = 22;
/// UDP_SEGMENT: the length of the datagrams that each send is cut into (GSO); 0 for off. See weir_datagram_features().
pub const WEIR_OPT_SEGMENT_SIZE: c_int = 23;
/// UDP_GRO: 1 has datagrams of one sender put together; receive them with weir_datagram_receive_batch(), which tells
/// where to cut. See weir_datagram_features().
pub const WEIR_OPT_GRO: c_int = 24;
