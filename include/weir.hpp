// libweir for C++17 and later: header only, over the C interface, whose header weir.h is the reference of what each
// function does, its errors included. Link with the same library.
#ifndef WEIR_HPP
#define WEIR_HPP

#include "weir.h"

#include "weir/acceptor.hpp"
#include "weir/address.hpp"
#include "weir/buffer.hpp"
#include "weir/callback.hpp"
#include "weir/context.hpp"
#include "weir/datagram.hpp"
#include "weir/error.hpp"
#include "weir/job.hpp"
#include "weir/outcome.hpp"
#include "weir/process.hpp"
#include "weir/resolver.hpp"
#include "weir/signals.hpp"
#include "weir/stream.hpp"
#include "weir/time.hpp"
#include "weir/timer.hpp"
#include "weir/watch.hpp"

#if WEIR_HAS_COROUTINES
#include "weir/cancel.hpp"
#include "weir/combine.hpp"
#include "weir/sequence.hpp"
#include "weir/task.hpp"
#endif

#endif
