/* Listening and accepting. */
#include "net.h"

#include <sys/syscall.h>

/* Stands before the C library's: the next call fails with this error. */
static atomic_int accept_error;

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    int error = atomic_exchange(&accept_error, 0);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return (int)syscall(SYS_accept4, fd, address, length, flags);
}

static const int families[] = {AF_INET, AF_INET6, AF_UNIX};

static bool missing(int family)
{
    return family == AF_INET6 && !have_ipv6();
}

TEST(accept_takes_one_connection_and_tells_its_address)
{
    weir_context *context = new_context();
    for (int f = 0; f < 3; f++) {
        if (missing(families[f]))
            continue;
        for (int early = 0; early < 2; early++) {
            struct where where, peer_name;
            weir_acceptor *acceptor = new_listener(context, families[f], 8, &where);
            struct accepted first = {0}, second = {0};
            int peers[2];
            if (early) {
                peers[0] = plain_connect(&where);
                peers[1] = plain_connect(&where);
            }
            START(weir_acceptor_accept(acceptor, accept_done, &first));
            CHECK_EQ(first.calls, 0);
            if (!early) {
                settle(context);
                CHECK_EQ(first.calls, 0);
                peers[0] = plain_connect(&where);
                peers[1] = plain_connect(&where);
            }
            RUN_CALLS(context, first, 1);
            settle(context);
            CHECK_EQ(first.calls, 1); /* one only */
            CHECK_OK(first.status);
            START(weir_acceptor_accept(acceptor, accept_done, &second));
            RUN_CALLS(context, second, 1);
            CHECK_OK(second.status);
            for (int i = 0; i < 2; i++) {
                struct accepted *accepted = i == 0 ? &first : &second;
                struct where asked;
                struct operation operation;
                weir_context *of = NULL;
                char data[8];
                peer_name = name_of(peers[i]);
                CHECK(same_place(&peer_name, AT(&accepted->from)));
                memset(&asked, 0, sizeof asked);
                CHECK_OK(weir_stream_remote_address(accepted->peer, &asked.address, &asked.length));
                CHECK(same_place(&peer_name, AT(&asked)));
                CHECK_OK(weir_stream_context(accepted->peer, &of));
                CHECK(of == context);
                START(begin(WRITE, accepted->peer, &operation));
                RUN_CALLS(context, operation.counter, 1);
                receive_all(peers[i], data, 8);
                START(begin(READ, accepted->peer, &operation));
                send_all(peers[i], "abcdefgh", 8);
                RUN_CALLS(context, operation.counter, 1);
                CHECK_DONE(operation.counter, 0, 8);
                CHECK_OK(weir_stream_close(accepted->peer));
                close(peers[i]);
            }
            CHECK_OK(weir_acceptor_close(acceptor));
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* H29: with a wildcard listener the accepted socket has the address that was connected to. */
TEST(h29_the_local_address_is_the_real_one)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        if (missing(families[f]))
            continue;
        struct where where, any = loopback(families[f], 0), local;
        if (families[f] == AF_INET)
            ((struct sockaddr_in *)&any.address)->sin_addr.s_addr = htonl(INADDR_ANY);
        else
            ((struct sockaddr_in6 *)&any.address)->sin6_addr = in6addr_any;
        weir_acceptor *acceptor = new_acceptor(context);
        CHECK_OK(weir_acceptor_bind(acceptor, AT(&any)));
        CHECK_OK(weir_acceptor_listen(acceptor, 0));
        CHECK_OK(weir_acceptor_local_address(acceptor, &where.address, &where.length));
        CHECK(port_of(&where) != 0);
        struct where target = loopback(families[f], port_of(&where));
        struct accepted accepted = {0};
        START(weir_acceptor_accept(acceptor, accept_done, &accepted));
        int peer = plain_connect(&target);
        RUN_CALLS(context, accepted, 1);
        memset(&local, 0, sizeof local);
        CHECK_OK(weir_stream_local_address(accepted.peer, &local.address, &local.length));
        CHECK(same_place(&target, AT(&local)));
        close(peer);
        CHECK_OK(weir_stream_close(accepted.peer));
        CHECK_OK(weir_acceptor_close(acceptor));
    }
    CHECK_OK(weir_context_destroy(context));
}

/* ---- accepting each */

struct server {
    weir_acceptor *acceptor;
    atomic_int accepted, last, final;
    int close_after; /* the acceptor, inside its own callback */
    int cancel_after;
    int inside;
    weir_stream *kept[64];
};

static void serve(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    struct server *server = user;
    (void)length;
    CHECK(!net_starting);
    CHECK_EQ(server->final, 0); /* nothing after the last one */
    CHECK_EQ(server->inside++, 0);
    if (status < 0) {
        CHECK(peer == NULL && address == NULL);
        server->last = status;
        server->final++;
    } else {
        int at = server->accepted++;
        if (at < 64)
            server->kept[at] = peer;
        else
            CHECK_OK(weir_stream_close(peer));
        if (server->close_after > 0 && server->accepted == server->close_after)
            CHECK_OK(weir_acceptor_close(server->acceptor));
        size_t count = 77;
        if (server->cancel_after > 0 && server->accepted == server->cancel_after) {
            CHECK_OK(weir_acceptor_cancel(server->acceptor, &count));
            CHECK_EQ(count, 1);
            CHECK_OK(weir_acceptor_cancel(server->acceptor, &count));
            CHECK_EQ(count, 0);
            START_CODE(weir_acceptor_accept(server->acceptor, accept_done, NULL), WEIR_EBUSY);
        }
    }
    server->inside--;
}

TEST(accept_each_goes_on_until_it_is_cancelled)
{
    weir_context *context = new_context();
    for (int f = 0; f < 3; f++) {
        if (missing(families[f]))
            continue;
        struct where where;
        struct server server = {.acceptor = new_listener(context, families[f], 64, &where)};
        int peers[60];
        size_t count = 77;
        for (int i = 0; i < 30; i++) /* some are there already */
            peers[i] = plain_connect(&where);
        START(weir_acceptor_accept_each(server.acceptor, serve, &server));
        CHECK_EQ(server.accepted, 0);
        RUN_UNTIL(context, server.accepted == 30);
        for (int i = 30; i < 60; i++) {
            peers[i] = plain_connect(&where);
            if (i % 7 == 0)
                RUN_UNTIL(context, server.accepted == i + 1);
        }
        RUN_UNTIL(context, server.accepted == 60);
        START_CODE(weir_acceptor_accept_each(server.acceptor, serve, &server), WEIR_EBUSY);
        START_CODE(weir_acceptor_accept(server.acceptor, accept_done, NULL), WEIR_EBUSY);
        START_CODE(weir_acceptor_wait(server.acceptor, done, NULL), WEIR_EBUSY);
        settle(context);
        CHECK_EQ(server.final, 0);
        CHECK_OK(weir_acceptor_cancel(server.acceptor, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(server.final, 0);
        CHECK_OK(weir_acceptor_cancel(server.acceptor, &count));
        CHECK_EQ(count, 0);
        RUN_UNTIL(context, server.final == 1);
        CHECK_CODE(server.last, WEIR_ECANCELED);
        settle(context);
        CHECK_EQ(server.final, 1);
        CHECK_EQ(server.accepted, 60);
        /* What comes now is not lost: the next accept has it. */
        int later = plain_connect(&where);
        struct accepted accepted = {0};
        settle(context);
        START(weir_acceptor_accept(server.acceptor, accept_done, &accepted));
        RUN_CALLS(context, accepted, 1);
        CHECK_OK(accepted.status);
        close(later);
        for (int i = 0; i < 60; i++) {
            CHECK_OK(weir_stream_close(server.kept[i]));
            close(peers[i]);
        }
        CHECK_OK(weir_acceptor_close(server.acceptor));
    }
    CHECK_OK(weir_context_destroy(context));
}

/* Contract 4: closed or cancelled from its own callback, with more connections waiting. */
TEST(accept_each_ends_inside_its_own_callback)
{
    weir_context *context = new_context();
    for (int way = 0; way < 4; way++) {
        bool closing = way % 2 == 0;
        int after = way < 2 ? 1 : 5;
        struct where where;
        struct server server = {.acceptor = new_listener(context, AF_INET, 64, &where)};
        int peers[10];
        server.close_after = closing ? after : 0;
        server.cancel_after = closing ? 0 : after;
        for (int i = 0; i < 10; i++)
            peers[i] = plain_connect(&where);
        START(weir_acceptor_accept_each(server.acceptor, serve, &server));
        RUN_UNTIL(context, server.final == 1);
        settle(context);
        CHECK_EQ(server.final, 1);
        CHECK_CODE(server.last, WEIR_ECANCELED);
        CHECK_EQ(server.accepted, after);
        if (!closing) {
            /* H24: the others were not taken and dropped. */
            struct server rest = {.acceptor = server.acceptor};
            START(weir_acceptor_accept_each(rest.acceptor, serve, &rest));
            RUN_UNTIL(context, rest.accepted == 10 - after);
            CHECK_OK(weir_acceptor_close(rest.acceptor));
            RUN_UNTIL(context, rest.final == 1);
            for (int i = 0; i < rest.accepted; i++)
                CHECK_OK(weir_stream_close(rest.kept[i]));
        }
        CHECK_CODE(weir_acceptor_close(server.acceptor), WEIR_EBADF);
        for (int i = 0; i < server.accepted; i++)
            CHECK_OK(weir_stream_close(server.kept[i]));
        for (int i = 0; i < 10; i++)
            close(peers[i]);
    }
    CHECK_OK(weir_context_destroy(context));
}

static void close_peer_at_once(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length,
                               void *user)
{
    struct counter *counter = user;
    (void)address;
    (void)length;
    if (status == 0)
        CHECK_OK(weir_stream_close(peer));
    count_call(status, counter);
}

TEST(an_accepted_stream_may_be_closed_at_once)
{
    weir_context *context = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(context, AF_INET, 64, &where);
    struct counter counter = {0};
    int before = count_fds();
    START(weir_acceptor_accept_each(acceptor, close_peer_at_once, &counter));
    for (int i = 1; i <= (int)many(200); i++) {
        int peer = plain_connect(&where);
        char byte;
        RUN_CALLS(context, counter, i);
        CHECK_EQ(recv(peer, &byte, 1, 0), 0);
        close(peer);
    }
    CHECK_EQ(count_fds(), before);
    CHECK_OK(weir_acceptor_close(acceptor));
    CHECK_OK(weir_context_destroy(context));
    CHECK_CODE(counter.status, WEIR_ECANCELED);
}

/* ---- wait, cancel, close, destroy */

TEST(h27_wait_completes_when_a_connection_is_pending)
{
    weir_context *context = new_context();
    for (int f = 0; f < 3; f++) {
        if (missing(families[f]))
            continue;
        struct where where;
        weir_acceptor *acceptor = new_listener(context, families[f], 8, &where);
        struct counter early = {0}, late = {0}, again = {0};
        struct accepted accepted = {0};
        START(weir_acceptor_wait(acceptor, done, &early));
        settle(context);
        CHECK_EQ(early.calls, 0);
        START_CODE(weir_acceptor_accept(acceptor, accept_done, &accepted), WEIR_EBUSY);
        int peer = plain_connect(&where);
        RUN_CALLS(context, early, 1);
        CHECK_DONE(early, 0, 0);
        START(weir_acceptor_wait(acceptor, done, &late)); /* the connection is still there */
        RUN_CALLS(context, late, 1);
        CHECK_DONE(late, 0, 0);
        START(weir_acceptor_accept(acceptor, accept_done, &accepted));
        RUN_CALLS(context, accepted, 1);
        CHECK_OK(accepted.status);
        START(weir_acceptor_wait(acceptor, done, &again));
        settle(context);
        CHECK_EQ(again.calls, 0);
        CHECK_OK(weir_acceptor_close(acceptor));
        RUN_CALLS(context, again, 1);
        CHECK_DONE(again, WEIR_ECANCELED, 0);
        CHECK_OK(weir_stream_close(accepted.peer));
        close(peer);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h25_cancel_ends_one_accept_and_nothing_later)
{
    weir_context *context = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(context, AF_INET, 8, &where);
    struct accepted first = {0}, second = {0};
    size_t count = 77;
    CHECK_OK(weir_acceptor_cancel(acceptor, &count));
    CHECK_EQ(count, 0);
    START(weir_acceptor_accept(acceptor, accept_done, &first));
    settle(context);
    CHECK_OK(weir_acceptor_cancel(acceptor, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(first.calls, 0);
    CHECK_OK(weir_acceptor_cancel(acceptor, NULL));
    RUN_CALLS(context, first, 1);
    CHECK_CODE(first.status, WEIR_ECANCELED);
    START(weir_acceptor_accept(acceptor, accept_done, &second));
    settle(context);
    CHECK_EQ(second.calls, 0);
    int peer = plain_connect(&where);
    RUN_CALLS(context, second, 1);
    CHECK_OK(second.status);
    CHECK_EQ(first.calls, 1);
    close(peer);
    CHECK_OK(weir_context_destroy(context));
}

/* H24: whatever a cancel meets, no connection is lost. */
TEST(h24_a_cancel_never_drops_a_connection)
{
    weir_context *context = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(context, AF_INET, 64, &where);
    for (int i = 0; i < 60; i++) {
        struct accepted accepted = {0};
        int peer = plain_connect(&where);
        size_t count = 77;
        if (i % 2 == 0) {
            START(weir_acceptor_accept(acceptor, accept_done, &accepted));
            if (i % 4 == 0)
                CHECK_OK(weir_context_poll(context, NULL));
            CHECK_OK(weir_acceptor_cancel(acceptor, &count));
            RUN_CALLS(context, accepted, 1);
            CHECK_EQ(accepted.calls, 1);
            CHECK_CODE(accepted.status, count == 1 ? WEIR_ECANCELED : 0);
        }
        if (accepted.status != 0 || accepted.calls == 0) {
            atomic_store(&accepted.calls, 0);
            START(weir_acceptor_accept(acceptor, accept_done, &accepted));
            RUN_CALLS(context, accepted, 1);
            CHECK_OK(accepted.status);
        }
        struct where name = name_of(peer);
        CHECK(same_place(&name, AT(&accepted.from)));
        CHECK_OK(weir_stream_close(accepted.peer));
        close(peer);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(close_and_destroy_end_accepts)
{
    weir_context *context = new_context();
    struct where where;
    int before = count_fds(), fd = -1;
    weir_acceptor *closed = new_listener(context, AF_INET, 8, &where);
    struct accepted one = {0}, two = {0};
    struct server server = {0};
    START(weir_acceptor_accept(closed, accept_done, &one));
    settle(context);
    CHECK_OK(weir_acceptor_close(closed));
    CHECK_EQ(count_fds(), before);
    CHECK_CODE(weir_acceptor_fd(closed, &fd), WEIR_EBADF);
    CHECK_EQ(one.calls, 0);
    RUN_CALLS(context, one, 1);
    CHECK_CODE(one.status, WEIR_ECANCELED);
    /* Nobody listens there any more. */
    int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(plain, AT(&where)), -1);
    CHECK_EQ(errno, ECONNREFUSED);
    close(plain);
    weir_acceptor *left = new_listener(context, AF_INET, 8, &where), *each = new_listener(context, AF_INET, 8, &where);
    START(weir_acceptor_accept(left, accept_done, &two));
    START(weir_acceptor_accept_each(each, serve, &server));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(two.calls, 1);
    CHECK_CODE(two.status, WEIR_ECANCELED);
    CHECK_EQ(server.final, 1);
    CHECK_CODE(server.last, WEIR_ECANCELED);
    CHECK_EQ(one.calls, 1);
}

/* ---- H30 */

TEST(h30_emfile_keeps_the_accept_pending_without_spinning)
{
    for (int each = 0; each < 2; each++) {
        weir_context *context = new_context();
        struct where where;
        struct rlimit before;
        weir_acceptor *acceptor = new_listener(context, AF_INET, 64, &where);
        struct accepted accepted = {0};
        struct server server = {.acceptor = acceptor};
        int peers[5];
        CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
        for (int i = 0; i < 5; i++)
            peers[i] = plain_connect(&where);
        set_fd_limit(no_more_fds());
        if (each)
            START(weir_acceptor_accept_each(acceptor, serve, &server));
        else
            START(weir_acceptor_accept(acceptor, accept_done, &accepted));
        uint64_t turns = turns_of(context);
        int64_t begun = now_ns();
        CHECK_OK(weir_context_run_for(context, 600 * CHECK_MS, NULL));
        CHECK(now_ns() - begun >= 600 * CHECK_MS);
        CHECK(turns_of(context) - turns <= 60); /* one try in 100 ms is enough */
        CHECK_EQ(accepted.calls + server.accepted + server.final, 0);
        /* A cancel still works, and the connections are still there. */
        size_t count = 0;
        CHECK_OK(weir_acceptor_cancel(acceptor, &count));
        CHECK_EQ(count, 1);
        RUN_UNTIL(context, accepted.calls + server.final == 1);
        CHECK_CODE(each ? server.last : accepted.status, WEIR_ECANCELED);
        memset(&accepted, 0, sizeof accepted);
        memset(&server, 0, sizeof server);
        server.acceptor = acceptor;
        if (each)
            START(weir_acceptor_accept_each(acceptor, serve, &server));
        else
            START(weir_acceptor_accept(acceptor, accept_done, &accepted));
        CHECK_OK(weir_context_run_for(context, 20 * CHECK_MS, NULL));
        CHECK_EQ(accepted.calls + server.accepted + server.final, 0);
        set_fd_limit(before.rlim_cur);
        RUN_UNTIL(context, each ? server.accepted == 5 : accepted.calls == 1); /* without a new connection */
        CHECK_OK(accepted.status);
        for (int i = 0; i < 5; i++)
            close(peers[i]);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(h30_emfile_is_survived_by_close_and_destroy)
{
    struct rlimit before;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (int way = 0; way < 3; way++) {
        weir_context *context = new_context();
        struct where where;
        weir_acceptor *acceptor = new_listener(context, AF_INET, 64, &where);
        struct server server = {.acceptor = acceptor};
        int peer = plain_connect(&where);
        set_fd_limit(no_more_fds());
        START(weir_acceptor_accept_each(acceptor, serve, &server));
        CHECK_OK(weir_context_run_for(context, 20 * CHECK_MS, NULL));
        if (way == 0) {
            CHECK_OK(weir_acceptor_close(acceptor));
            CHECK_OK(weir_context_run(context, NULL)); /* ends: no retry is left behind */
        } else if (way == 1) {
            int fd = -1;
            CHECK_OK(weir_acceptor_release(acceptor, &fd));
            close(fd);
            CHECK_OK(weir_context_run(context, NULL));
        } else {
            CHECK_OK(weir_context_destroy(context));
        }
        CHECK_EQ(server.final, 1);
        CHECK_CODE(server.last, WEIR_ECANCELED);
        if (way < 2)
            CHECK_OK(weir_context_destroy(context));
        set_fd_limit(before.rlim_cur);
        close(peer);
    }
}

/* H30: connections that are gone before they are accepted are no errors of the accept. */
TEST(h30_connections_reset_before_the_accept_surface_nowhere)
{
    weir_context *context = new_context();
    struct where where;
    struct server server = {.acceptor = new_listener(context, AF_INET, 64, &where)};
    for (int i = 0; i < 20; i++)
        reset_and_close(plain_connect(&where));
    START(weir_acceptor_accept_each(server.acceptor, serve, &server));
    for (int i = 0; i < 20; i++)
        reset_and_close(plain_connect(&where));
    int good = plain_connect(&where);
    struct where name = name_of(good);
    bool found = false;
    while (!found) {
        RUN_UNTIL(context, server.accepted > 0);
        CHECK_EQ(server.final, 0);
        for (int i = 0; i < server.accepted; i++) {
            struct where asked;
            memset(&asked, 0, sizeof asked);
            int code = weir_stream_remote_address(server.kept[i], &asked.address, &asked.length);
            CHECK(code == 0 || code == WEIR_ENOTCONN);
            found = found || (code == 0 && same_place(&name, AT(&asked)));
        }
        if (!found)
            turn(context);
    }
    CHECK_EQ(server.final, 0);
    close(good);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(server.final, 1);
}

/* ---- several threads */

struct shared {
    weir_context *context;
    weir_acceptor *acceptor;
    atomic_int inside, most, accepted, final, begun;
};

static void serve_shared(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    struct shared *shared = user;
    (void)address;
    (void)length;
    int inside = atomic_fetch_add(&shared->inside, 1) + 1;
    if (inside > atomic_load(&shared->most))
        atomic_store(&shared->most, inside);
    if (status == 0) {
        CHECK_OK(weir_stream_close(peer));
        atomic_fetch_add(&shared->accepted, 1);
    } else {
        CHECK_CODE(status, WEIR_ECANCELED);
        atomic_fetch_add(&shared->final, 1);
    }
    atomic_fetch_sub(&shared->inside, 1);
}

static void *run_shared(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

/* accept(2) passes on what has happened to the connection that it would have taken. */
TEST(h30_an_error_of_one_connection_does_not_end_the_accept)
{
    static const int errors[] = {ECONNABORTED, EPROTO,       EPERM,      ENETDOWN,    ENOPROTOOPT, EHOSTDOWN,
                                 ENONET,       EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, ETIMEDOUT};
    weir_context *context = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(context, AF_INET, 64, &where);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct accepted accepted = {0};
        int peer = plain_connect(&where);
        START(weir_acceptor_accept(acceptor, accept_done, &accepted));
        atomic_store(&accept_error, errors[i]);
        RUN_CALLS(context, accepted, 1);
        CHECK_EQ(atomic_load(&accept_error), 0);
        CHECK_OK(accepted.status);
        CHECK_OK(weir_stream_close(accepted.peer));
        close(peer);
    }
    /* One of the listener does. */
    struct accepted accepted = {0};
    int peer = plain_connect(&where);
    START(weir_acceptor_accept(acceptor, accept_done, &accepted));
    atomic_store(&accept_error, EINVAL);
    RUN_CALLS(context, accepted, 1);
    CHECK_CODE(accepted.status, WEIR_EINVAL);
    close(peer);
    CHECK_OK(weir_context_destroy(context));
}

/* A burst is taken as far as the share of a turn goes: 16. */
TEST(h30_a_burst_of_connections_takes_few_turns)
{
    enum { BURST = 64 };
    weir_context *context = new_context();
    struct where where;
    weir_stats before = {.struct_size = sizeof before}, after = before;
    struct server server = {.acceptor = new_listener(context, AF_UNIX, BURST, &where)};
    int peers[BURST];
    START(weir_acceptor_accept_each(server.acceptor, serve, &server));
    settle(context);
    for (int i = 0; i < BURST; i++)
        peers[i] = plain_connect(&where);
    CHECK_OK(weir_context_stats(context, &before));
    while (server.accepted < BURST)
        CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_context_stats(context, &after));
    CHECK(after.turns - before.turns <= BURST / 4);
    for (int i = 0; i < BURST; i++)
        close(peers[i]);
    CHECK_OK(weir_context_destroy(context));
}

struct between {
    weir_context *context;
    const struct server *server;
    int rounds;
};

static void run_between(int status, void *user)
{
    struct between *between = user;
    if (status == WEIR_ECANCELED || between->server->accepted == 64)
        return;
    between->rounds++;
    CHECK_OK(weir_context_post(between->context, run_between, between));
}

TEST(h34_a_burst_of_connections_lets_others_run_in_between)
{
    weir_context *context = new_context();
    struct where where;
    struct server server = {.acceptor = new_listener(context, AF_UNIX, 64, &where)};
    struct between between = {context, &server, 0};
    int peers[64];
    START(weir_acceptor_accept_each(server.acceptor, serve, &server));
    settle(context);
    for (int i = 0; i < 64; i++)
        peers[i] = plain_connect(&where);
    CHECK_OK(weir_context_post(context, run_between, &between));
    while (server.accepted < 64)
        CHECK_OK(weir_context_poll(context, NULL));
    /* Four shares of 16 make up the burst. */
    CHECK(between.rounds >= 4);
    for (int i = 0; i < 64; i++)
        close(peers[i]);
    CHECK_OK(weir_context_destroy(context));
}

TEST(accept_each_on_several_threads_takes_each_connection_once)
{
    weir_context *context = new_context_with(0, 3);
    struct where where;
    struct shared shared = {.context = context, .acceptor = new_listener(context, AF_INET, 128, &where)};
    pthread_t threads[3];
    int total = (int)many(2000);
    START(weir_acceptor_accept_each(shared.acceptor, serve_shared, &shared));
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(run_shared, context);
    for (int i = 0; i < total; i++) {
        int peer = plain_connect(&where);
        if (i % 3 == 0) {
            char byte;
            CHECK_EQ(recv(peer, &byte, 1, 0), 0); /* served before the next one */
        }
        close(peer);
    }
    WAIT_FOR(atomic_load(&shared.accepted) == total);
    CHECK_OK(weir_acceptor_close(shared.acceptor));
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
    CHECK_EQ(shared.accepted, total);
    CHECK_EQ(shared.final, 1);
    CHECK_EQ(shared.most, 1); /* the calls of one acceptor never overlap */
    CHECK_OK(weir_context_destroy(context));
}

static void *start_accepts(void *user)
{
    struct shared *shared = user;
    for (size_t i = 0; i < many(1000); i++) {
        int code = weir_acceptor_accept(shared->acceptor, serve_shared, shared);
        CHECK(code == 0 || code == WEIR_EBUSY);
        if (code == 0)
            atomic_fetch_add(&shared->begun, 1);
        if (i % 3 == 0)
            CHECK_OK(weir_acceptor_cancel(shared->acceptor, NULL));
    }
    return NULL;
}

/* Each accept that was begun completes once, whoever begins and cancels. */
TEST(accepts_from_several_threads_stress)
{
    weir_context *context = new_context_with(0, 2);
    struct where where;
    struct shared shared = {.context = context, .acceptor = new_listener(context, AF_INET, 0, &where)};
    pthread_t threads[4];
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 4; i++)
        threads[i] = i < 2 ? start_thread(run_shared, context) : start_thread(start_accepts, &shared);
    for (size_t i = 0; i < many(300); i++)
        close(plain_connect(&where));
    join_thread(threads[2]);
    join_thread(threads[3]);
    CHECK_OK(weir_acceptor_close(shared.acceptor));
    CHECK_OK(weir_context_work_end(context));
    join_thread(threads[0]);
    join_thread(threads[1]);
    CHECK(shared.begun > 0);
    CHECK_EQ(shared.accepted + shared.final, shared.begun);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- making one */

TEST(bind_and_listen_tell_their_errors)
{
    weir_context *context = new_context();
    struct where where, any = loopback(AF_INET, 0), elsewhere = loopback(AF_INET, 0);
    weir_acceptor *first = new_listener(context, AF_INET, 4, &where), *second = new_acceptor(context);
    struct accepted accepted = {0};
    struct sockaddr_storage address;
    socklen_t length = 77;
    int fd = -1, before = count_fds();
    CHECK_CODE(weir_acceptor_listen(second, 1), WEIR_ENOTCONN);
    CHECK_CODE(weir_acceptor_local_address(second, &address, &length), WEIR_ENOTCONN);
    START_CODE(weir_acceptor_accept(second, accept_done, &accepted), WEIR_ENOTCONN);
    START_CODE(weir_acceptor_accept_each(second, accept_done, &accepted), WEIR_ENOTCONN);
    START_CODE(weir_acceptor_wait(second, done, &accepted), WEIR_ENOTCONN);
    CHECK_CODE(weir_acceptor_bind(second, AT(&where)), -EADDRINUSE);
    CHECK_CODE(weir_acceptor_fd(second, &fd), WEIR_ENOTCONN); /* the socket went with the failure */
    CHECK_EQ(count_fds(), before);
    ((struct sockaddr_in *)&elsewhere.address)->sin_addr.s_addr = htonl(0xC6336401); /* 198.51.100.1, of no host */
    CHECK_CODE(weir_acceptor_bind(second, AT(&elsewhere)), -EADDRNOTAVAIL);
    CHECK_OK(weir_acceptor_bind(second, AT(&any)));
    CHECK_OK(weir_acceptor_fd(second, &fd));
    CHECK_CODE(weir_acceptor_bind(second, AT(&any)), WEIR_EINVAL);
    CHECK_CODE(weir_acceptor_fd(second, &fd), 0); /* and stays where it was there before */
    START_CODE(weir_acceptor_accept(second, accept_done, &accepted), WEIR_EINVAL);
    START_CODE(weir_acceptor_accept_each(second, accept_done, &accepted), WEIR_EINVAL);
    CHECK_CODE(weir_acceptor_listen(second, -1), WEIR_EINVAL);
    CHECK_OK(weir_acceptor_listen(second, 0));
    CHECK_OK(weir_acceptor_listen(second, 1)); /* again: another backlog */
    int reuse = 0;
    CHECK_OK(weir_acceptor_get(first, WEIR_OPT_REUSE_ADDRESS, &reuse));
    CHECK_EQ(reuse, 1);
    /* A socket that the user opened is as the user wants it. */
    weir_acceptor *opened = new_acceptor(context);
    CHECK_OK(weir_acceptor_open(opened, AF_INET));
    CHECK_OK(weir_acceptor_bind(opened, AT(&any)));
    CHECK_OK(weir_acceptor_get(opened, WEIR_OPT_REUSE_ADDRESS, &reuse));
    CHECK_EQ(reuse, 0);
    settle(context);
    CHECK_EQ(accepted.calls, 0);
    CHECK_EQ(length, 77);
    CHECK_OK(weir_context_destroy(context));
}

/* A server starts again on its port although connections of the last run are in TIME_WAIT. */
TEST(a_port_is_free_again_at_once)
{
    weir_context *context = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(context, AF_INET, 4, &where);
    struct accepted accepted = {0};
    START(weir_acceptor_accept(acceptor, accept_done, &accepted));
    int peer = plain_connect(&where);
    char byte;
    RUN_CALLS(context, accepted, 1);
    CHECK_OK(weir_stream_close(accepted.peer)); /* this side closes first: it keeps the TIME_WAIT */
    CHECK_EQ(recv(peer, &byte, 1, 0), 0);
    close(peer);
    CHECK_OK(weir_acceptor_close(acceptor));
    acceptor = new_acceptor(context);
    CHECK_OK(weir_acceptor_bind(acceptor, AT(&where)));
    CHECK_OK(weir_acceptor_listen(acceptor, 0));
    CHECK_OK(weir_context_destroy(context));
}

TEST(backlog_limits_what_waits)
{
    weir_context *context = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(context, AF_UNIX, 2, &where);
    int peers[16], held = 0;
    for (; held < 16; held++) {
        peers[held] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK(peers[held] >= 0);
        if (connect(peers[held], AT(&where)) != 0) {
            CHECK_EQ(errno, EAGAIN);
            close(peers[held]);
            break;
        }
    }
    CHECK(held >= 2 && held <= 4);
    for (int i = 0; i < held; i++)
        close(peers[i]);
    CHECK_OK(weir_acceptor_close(acceptor));
    CHECK_OK(weir_context_destroy(context));
}

TEST(adopt_takes_a_listening_socket)
{
    weir_context *context = new_context();
    for (int f = 0; f < 3; f++) {
        if (missing(families[f]))
            continue;
        struct where where, asked;
        weir_acceptor *acceptor = new_acceptor(context);
        struct accepted accepted = {0}, ended = {0};
        int listener = plain_listener(families[f], 8, &where), fd = -1;
        int peer = plain_connect(&where);
        CHECK_OK(weir_acceptor_adopt(acceptor, listener));
        CHECK(fcntl(listener, F_GETFL) & O_NONBLOCK);
        CHECK_CODE(weir_acceptor_adopt(acceptor, listener), WEIR_EBUSY);
        memset(&asked, 0, sizeof asked);
        CHECK_OK(weir_acceptor_local_address(acceptor, &asked.address, &asked.length));
        CHECK(same_place(&where, AT(&asked)));
        START(weir_acceptor_accept(acceptor, accept_done, &accepted));
        RUN_CALLS(context, accepted, 1);
        CHECK_OK(accepted.status);
        CHECK_OK(weir_stream_close(accepted.peer));
        START(weir_acceptor_accept(acceptor, accept_done, &ended));
        settle(context);
        CHECK_OK(weir_acceptor_release(acceptor, &fd));
        CHECK_EQ(fd, listener);
        RUN_CALLS(context, ended, 1);
        CHECK_CODE(ended.status, WEIR_ECANCELED);
        CHECK_CODE(weir_acceptor_release(acceptor, &fd), WEIR_ENOTCONN);
        CHECK_CODE(weir_acceptor_fd(acceptor, &fd), WEIR_ENOTCONN);
        close(peer);
        peer = plain_connect(&where); /* it listens as before */
        CHECK_OK(weir_acceptor_adopt(acceptor, listener));
        memset(&accepted, 0, sizeof accepted);
        START(weir_acceptor_accept(acceptor, accept_done, &accepted));
        RUN_CALLS(context, accepted, 1);
        CHECK_OK(accepted.status);
        close(peer);
        CHECK_OK(weir_stream_close(accepted.peer));
        CHECK_OK(weir_acceptor_close(acceptor));
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(adopt_refuses_what_does_not_listen)
{
    weir_context *context = new_context();
    weir_acceptor *acceptor = new_acceptor(context);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), file = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), packets[2], fd = -1;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets), 0);
    CHECK_CODE(weir_acceptor_adopt(acceptor, -1), WEIR_EBADF);
    CHECK_CODE(weir_acceptor_adopt(acceptor, 1000000), WEIR_EBADF);
    CHECK_CODE(weir_acceptor_adopt(acceptor, file), -ENOTSOCK);
    CHECK_CODE(weir_acceptor_adopt(acceptor, datagram), -EPROTOTYPE);
    CHECK_CODE(weir_acceptor_adopt(acceptor, packets[0]), -EPROTOTYPE);
    CHECK_CODE(weir_acceptor_adopt(acceptor, fresh), WEIR_EINVAL);
    CHECK_CODE(weir_acceptor_fd(acceptor, &fd), WEIR_ENOTCONN);
    CHECK_EQ(fcntl(fresh, F_GETFL) & O_NONBLOCK, 0);
    CHECK_OK(weir_context_destroy(context));
    const int mine[] = {datagram, file, fresh, packets[0], packets[1]};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
        CHECK_EQ(close(mine[i]), 0);
}

TEST(v6_only_keeps_ipv4_out)
{
    if (!have_ipv6())
        CHECK_SKIP("no IPv6 here");
    weir_context *context = new_context();
    for (int only = 0; only < 2; only++) {
        struct where any = loopback(AF_INET6, 0), where;
        ((struct sockaddr_in6 *)&any.address)->sin6_addr = in6addr_any;
        weir_acceptor *acceptor = new_acceptor(context);
        CHECK_OK(weir_acceptor_open(acceptor, AF_INET6));
        CHECK_OK(weir_acceptor_set(acceptor, WEIR_OPT_V6_ONLY, only));
        CHECK_OK(weir_acceptor_bind(acceptor, AT(&any)));
        CHECK_OK(weir_acceptor_listen(acceptor, 4));
        CHECK_OK(weir_acceptor_local_address(acceptor, &where.address, &where.length));
        struct where target = loopback(AF_INET, port_of(&where));
        int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(connect(peer, AT(&target)), only ? -1 : 0);
        if (!only) {
            struct accepted accepted = {0};
            START(weir_acceptor_accept(acceptor, accept_done, &accepted));
            RUN_CALLS(context, accepted, 1);
            CHECK_OK(accepted.status);
            CHECK_EQ(accepted.from.address.ss_family, AF_INET6); /* ::ffff:127.0.0.1 */
            CHECK_OK(weir_stream_close(accepted.peer));
        }
        close(peer);
        CHECK_OK(weir_acceptor_close(acceptor));
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
