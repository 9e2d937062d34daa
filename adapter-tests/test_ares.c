/* c-ares on weir (include/weir/ares.h), with a DNS server on loopback. */
#include "child.h"

#include <poll.h>

#include "dns.h"

#include <netdb.h>
#include <weir/ares.h>

static weir_context *context;
static weir_strand *strand;
static weir_ares *ares;

struct query {
    int calls, status, timeouts;
    struct in_addr address;
};

static void on_host(void *user, int status, int timeouts, struct hostent *host)
{
    struct query *query = user;
    query->calls++;
    query->status = status;
    query->timeouts = timeouts;
    if (status == ARES_SUCCESS) {
        CHECK(host != NULL);
        CHECK_EQ(host->h_length, 4);
        memcpy(&query->address, host->h_addr_list[0], 4);
    }
}

static void ask_with(struct query *query, const char *name, ares_host_callback callback)
{
    *query = (struct query){0};
    ares_gethostbyname(weir_ares_channel(ares), name, AF_INET, callback, query);
}

static void ask(struct query *query, const char *name)
{
    ask_with(query, name, on_host);
}

static void use_server(int port)
{
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:%d", port);
    CHECK_EQ(ares_set_servers_ports_csv(weir_ares_channel(ares), servers), ARES_SUCCESS);
}

static void new_channel(int timeout_ms, int tries, int flags)
{
    struct ares_options options;
    memset(&options, 0, sizeof options);
    options.timeout = timeout_ms;
    options.tries = tries;
    options.flags = flags;
    options.lookups = (char[]){"b"}; /* not /etc/hosts */
    CHECK_OK(weir_ares_create(context, strand, &options,
                              ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_FLAGS | ARES_OPT_LOOKUPS, &ares));
    use_server(dns_port);
}

static void set_up(int timeout_ms, int tries)
{
    dns_start();
    context = new_context();
    new_channel(timeout_ms, tries, ARES_FLAG_NOSEARCH);
}

static void tear_down(void)
{
    CHECK_OK(weir_ares_destroy(ares));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_destroy(context));
    dns_stop();
}

/* ---- cases */

TEST(bad_arguments_are_refused)
{
    set_up(1000, 3);
    weir_ares *other = NULL;
    struct ares_options options = {0};
    CHECK_CODE(weir_ares_create(context, NULL, NULL, 0, NULL), WEIR_EINVAL);
    CHECK_CODE(weir_ares_create(context, NULL, NULL, ARES_OPT_FLAGS, &other), WEIR_EINVAL);
    CHECK_CODE(weir_ares_create(context, NULL, &options, ARES_OPT_SOCK_STATE_CB, &other), WEIR_EINVAL);
    CHECK_CODE(weir_ares_create(NULL, NULL, NULL, 0, &other), WEIR_EBADF);
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_strand_close(strand));
    CHECK_CODE(weir_ares_create(context, strand, NULL, 0, &other), WEIR_EBADF);
    CHECK_CODE(weir_ares_destroy(NULL), WEIR_EINVAL);
    CHECK(other == NULL);
    CHECK_OK(weir_ares_create(context, NULL, NULL, 0, &other)); /* the system's own settings */
    CHECK_OK(weir_ares_destroy(other));
    tear_down();
}

/* A thousand names, 50 at a time (more would not fit the sockets' buffers): each answer asks the next. */
enum { NAMES = 1000, AT_A_TIME = 50 };
static struct query queries[NAMES];
static int next_name;

static void ask_next(void);

static void on_number(void *user, int status, int timeouts, struct hostent *host)
{
    on_host(user, status, timeouts, host);
    ask_next();
}

static void ask_next(void)
{
    char name[32];
    if (next_name == NAMES)
        return;
    struct query *query = &queries[next_name];
    snprintf(name, sizeof name, "a%d.test", next_name++);
    ask_with(query, name, on_number);
    CHECK_EQ(query->calls, 0);
}

TEST(a_thousand_names)
{
    set_up(1000, 5);
    for (int i = 0; i < AT_A_TIME; i++)
        ask_next();
    CHECK_OK(weir_context_run(context, NULL)); /* returns: no query, no socket, no timer is left */
    for (int i = 0; i < NAMES; i++) {
        CHECK_EQ(queries[i].calls, 1);
        CHECK_EQ(queries[i].status, ARES_SUCCESS);
        CHECK_EQ(ntohl(queries[i].address.s_addr), 0x0a000000 + i);
    }
    tear_down();
}

TEST(a_name_that_does_not_exist_is_told)
{
    set_up(5000, 4);
    ask(&queries[0], "nobody.test");
    ask(&queries[1], "a7.test");
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(queries[0].status, ARES_ENOTFOUND);
    CHECK_EQ(queries[1].status, ARES_SUCCESS);
    tear_down();
}

TEST(a_question_that_was_lost_is_asked_again)
{
    set_up(50, 4);
    ask(&queries[0], "late.test");
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(queries[0].status, ARES_SUCCESS);
    CHECK(queries[0].timeouts >= 1);
    tear_down();
}

TEST(silence_ends_in_a_timeout_and_the_loop_sleeps_meanwhile)
{
    set_up(100, 2);
    uint64_t before = turns_of(context);
    for (int i = 0; i < 10; i++)
        ask(&queries[i], "silent.test");
    ask(&queries[10], "a1.test");
    CHECK_OK(weir_context_run(context, NULL));
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(queries[i].calls, 1);
        CHECK_EQ(queries[i].status, ARES_ETIMEOUT);
        CHECK_EQ(queries[i].timeouts, 2);
    }
    CHECK_EQ(queries[10].status, ARES_SUCCESS);
    CHECK_EQ(dns_silent, 20);
    CHECK(turns_of(context) - before < 200);
    tear_down();
}

/* c-ares tells nothing of a query that uses a socket which is open already: its first time limit must be kept all the
 * same, also where the older query has come to wait much longer. */
static int64_t third_of_first, begin_second;
static int first_asked, second_asked, second_before_fourth;
static atomic_bool has_fourth;

static void begin_second_query(int status, void *user)
{
    CHECK_EQ(status, 0);
    begin_second = now_ns();
    ask(user, "silent2.test");
}

static void watch_silent(const char *name)
{
    if (strcmp(name, "silent1.test") == 0) {
        first_asked++;
        if (first_asked == 3) {
            third_of_first = now_ns();
            CHECK_OK(weir_context_post(context, begin_second_query, &queries[1]));
        } else if (first_asked == 4) {
            second_before_fourth = second_asked;
            has_fourth = true;
        }
    } else {
        second_asked++;
    }
}

TEST(a_younger_query_on_the_same_socket_keeps_its_own_time)
{
    enum { LIMIT = 400 };
    dns_on_silent = watch_silent;
    set_up(LIMIT, 4); /* the older one is asked again after 400, 1200 and 2800 ms */
    ask(&queries[0], "silent1.test");
    while (!has_fourth)
        CHECK_OK(weir_context_run_for(context, 20 * CHECK_MS, NULL));
    if (begin_second - third_of_first > LIMIT * CHECK_MS / 2)
        CHECK_SKIP("the machine was too busy");
    CHECK(second_before_fourth >= 3); /* after 1200, 1600 and 2400 ms */
    ares_cancel(weir_ares_channel(ares));
    CHECK_OK(weir_context_run(context, NULL));
    tear_down();
}

TEST(nobody_listens)
{
    set_up(5000, 2);
    use_server(unused_port());
    int64_t begin = now_ns();
    ask(&queries[0], "a1.test");
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(queries[0].status, ARES_ECONNREFUSED);
    CHECK(now_ns() - begin < 4 * CHECK_SECOND); /* it heard the error, it did not wait for the time limit */
    tear_down();
}

TEST(a_long_answer_comes_over_tcp)
{
    set_up(5000, 3);
    ask(&queries[0], "tcp.test");
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(queries[0].status, ARES_SUCCESS);
    CHECK_OK(weir_ares_destroy(ares));

    CHECK_OK(weir_context_restart(context));
    new_channel(5000, 3, ARES_FLAG_USEVC | ARES_FLAG_NOSEARCH); /* nothing but TCP */
    for (int i = 0; i < 100; i++)
        ask(&queries[i], i % 2 == 0 ? "tcp.test" : "a99.test");
    CHECK_OK(weir_context_run(context, NULL));
    for (int i = 0; i < 100; i++)
        CHECK_EQ(queries[i].status, ARES_SUCCESS);
    tear_down();
}

/* ---- ends of all kinds */

static void cancel_all(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    ares_cancel(weir_ares_channel(ares));
}

TEST(cancelled_queries_end_at_once)
{
    set_up(30000, 4);
    for (int turns = 0; turns < 4; turns++) {
        for (int i = 0; i < 20; i++)
            ask(&queries[i], "silent.test");
        for (int i = 0; i < turns / 2; i++)
            CHECK_OK(weir_context_poll(context, NULL));
        if (turns % 2 == 0)
            cancel_all(0, NULL);
        else
            CHECK_OK(weir_context_post(context, cancel_all, NULL));
        CHECK_OK(weir_context_poll(context, NULL));
        CHECK_EQ(weir_context_stopped(context), 1); /* it has no work left */
        for (int i = 0; i < 20; i++) {
            CHECK_EQ(queries[i].calls, 1);
            CHECK_EQ(queries[i].status, ARES_ECANCELLED);
        }
        CHECK_OK(weir_context_restart(context));
    }
    tear_down();
}

/* By a post: c-ares 1.18 frees the query twice that cancels itself. */
static void cancel_in_callback(void *user, int status, int timeouts, struct hostent *host)
{
    on_host(user, status, timeouts, host);
    if (status == ARES_SUCCESS)
        CHECK_OK(weir_context_post(context, cancel_all, NULL));
}

TEST(an_answer_cancels_the_other_queries)
{
    set_up(30000, 4);
    for (int i = 0; i < 20; i++)
        ask(&queries[i], "silent.test");
    ask_with(&queries[20], "a1.test", cancel_in_callback);
    CHECK_OK(weir_context_run(context, NULL));
    for (int i = 0; i < 20; i++)
        CHECK_EQ(queries[i].status, ARES_ECANCELLED);
    CHECK_EQ(queries[20].status, ARES_SUCCESS);
    tear_down();
}

TEST(a_channel_that_ends_tells_its_queries)
{
    set_up(30000, 4);
    int fds = count_fds();
    for (int turns = 0; turns < 3; turns++) {
        for (int i = 0; i < 20; i++)
            ask(&queries[i], "silent.test");
        for (int i = 0; i < turns; i++)
            CHECK_OK(weir_context_poll(context, NULL));
        CHECK_OK(weir_ares_destroy(ares));
        for (int i = 0; i < 20; i++) {
            CHECK_EQ(queries[i].calls, 1);
            CHECK_EQ(queries[i].status, ARES_EDESTRUCTION);
        }
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_OK(weir_context_restart(context));
        CHECK_EQ(count_fds(), fds);
        new_channel(30000, 4, ARES_FLAG_NOSEARCH);
    }
    tear_down();
}

static void destroy_in_callback(void *user, int status, int timeouts, struct hostent *host)
{
    on_host(user, status, timeouts, host);
    CHECK_EQ(status, ARES_SUCCESS);
    CHECK_OK(weir_ares_destroy(ares));
    CHECK_CODE(weir_ares_destroy(ares), WEIR_EBUSY);
}

TEST(a_channel_ends_in_a_callback_of_its_own)
{
    set_up(30000, 4);
    for (int i = 0; i < 20; i++)
        ask(&queries[i], "silent.test");
    ask_with(&queries[20], "a1.test", destroy_in_callback);
    CHECK_OK(weir_context_run(context, NULL));
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(queries[i].calls, 1);
        CHECK_EQ(queries[i].status, ARES_EDESTRUCTION);
    }
    CHECK_OK(weir_context_destroy(context));
    dns_stop();
}

TEST(the_weir_context_may_be_destroyed_first)
{
    for (int turns = 0; turns < 3; turns++) {
        set_up(30000, 4);
        for (int i = 0; i < 20; i++)
            ask(&queries[i], "silent.test");
        for (int i = 0; i < turns; i++)
            CHECK_OK(weir_context_poll(context, NULL));
        CHECK_OK(weir_context_destroy(context));
        ask(&queries[20], "silent.test"); /* nobody serves it */
        CHECK_EQ(queries[0].calls, 0);
        CHECK_OK(weir_ares_destroy(ares));
        for (int i = 0; i < 21; i++)
            CHECK_EQ(queries[i].status, ARES_EDESTRUCTION);
        dns_stop();
    }
}

/* A strand that is gone stands for every reason for which libweir may refuse to watch a socket. */
TEST(a_socket_that_can_not_be_watched_runs_into_the_time_limit)
{
    set_up(50, 2);
    CHECK_OK(weir_ares_destroy(ares));
    CHECK_OK(weir_strand_create(context, &strand));
    new_channel(50, 2, ARES_FLAG_NOSEARCH);
    CHECK_OK(weir_strand_close(strand));
    ask(&queries[0], "silent.test");
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(queries[0].status, ARES_ETIMEOUT);
    tear_down();
}

/* ---- several threads and a strand */

static int inside, stranded_left;

static void ask_stranded(struct query *query);

static void on_stranded(void *user, int status, int timeouts, struct hostent *host)
{
    CHECK_EQ(weir_strand_running_in_this_thread(strand), 1);
    CHECK_EQ(inside++, 0);
    on_host(user, status, timeouts, host);
    CHECK_EQ(status, ARES_SUCCESS);
    if (stranded_left-- > 0)
        ask_stranded(user);
    inside--;
}

static void ask_stranded(struct query *query)
{
    static int number; /* another name each time: later versions of c-ares remember answers */
    char name[32];
    snprintf(name, sizeof name, "a%d.test", number++);
    ask_with(query, name, on_stranded);
}

static void begin_stranded(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    for (int i = 0; i < 20; i++)
        ask_stranded(&queries[i]);
}

static void *run_thread(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(a_strand_serves_a_context_that_several_threads_run)
{
    pthread_t threads[3];
    set_up(1000, 5);
    CHECK_OK(weir_ares_destroy(ares));
    CHECK_OK(weir_strand_create(context, &strand));
    new_channel(1000, 5, ARES_FLAG_NOSEARCH);
    stranded_left = (int)many(4000);
    CHECK_OK(weir_strand_post(strand, begin_stranded, NULL));
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(run_thread, context);
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
    CHECK(stranded_left < 0);
    tear_down();
}

#ifdef EXAMPLE
TEST(the_example_runs)
{
    char server[64], text[4096];
    set_up(1000, 5);
    snprintf(server, sizeof server, "127.0.0.1:%d", dns_port);
    run_child((char *[]){EXAMPLE, "--server", server, "a258.test", "a1.test", NULL}, 0, text, sizeof text);
    CHECK(strstr(text, "a258.test: 10.0.1.2\n") != NULL);
    CHECK(strstr(text, "a1.test: 10.0.0.1\n") != NULL);
    run_child((char *[]){EXAMPLE, "--server", server, "nobody.test", NULL}, 1, text, sizeof text);
    CHECK(strstr(text, "nobody.test: ") != NULL);
    tear_down();
}
#endif

TEST_MAIN()
